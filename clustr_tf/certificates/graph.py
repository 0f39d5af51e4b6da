"""Walking through a functional network, layer by layer."""

from collections.abc import Callable
from typing import Any, TypeVar

import keras

Value = TypeVar("Value")


def fold_layers(
    network: keras.Model, value: Value, visit: Callable[[Any, list[Value]], Value]
) -> Value:
    """Carries a value from the input of a functional network to its output.

    Nested functional models are walked through as if their layers stood in their place. The order
    of the visits is always the same.

    Args:
        network: functional, one input and one output, every layer used once.
        value: what stands for the input.
        visit: (layer, values of its inputs) -> value of its output.

    Returns:
        The output's value.

    Raises:
        ValueError: if a layer is used more than once.

    Example:
        >>> fold_layers(network, images, lambda layer, inputs: layer(*inputs))  # network(images)
    """
    known = {id(network.inputs[0]): value}
    for layer in network.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        # A layer has a node for every use, also in other models. layer.input would not do: that
        # of a nested model is its own input, not the tensor it was called on.
        nodes = [node for node in layer._inbound_nodes if node in network._nodes]
        if len(nodes) != 1:
            raise ValueError(
                f"layer {layer.name!r} must be used once to have a proved bound. "
                f"Received: {len(nodes)} uses"
            )
        inputs = [known[id(tensor)] for tensor in nodes[0].input_tensors]
        nested = isinstance(layer, keras.Model)
        output = fold_layers(layer, inputs[0], visit) if nested else visit(layer, inputs)
        known[id(nodes[0].output_tensors[0])] = output
    return known[id(network.outputs[0])]
