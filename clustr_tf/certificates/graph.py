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
        ValueError: if the network is not of that form, or if a layer is used more than once, in
            training mode or on anything but tensors of the network.

    Example:
        >>> fold_layers(network, images, lambda layer, inputs: layer(*inputs))  # network(images)
    """
    _check_network(network)
    known = {id(network.inputs[0]): value}
    visited: set[int] = set()
    # As the network runs itself. A layer has a node for every use, also in other models, and the
    # `input` of a nested model is its own, not the tensor it was called on: only nodes tell.
    for depth in sorted(network._nodes_by_depth, reverse=True):
        for node in network._nodes_by_depth[depth]:
            if node.is_input:
                continue
            layer = node.operation
            if id(layer) in visited:
                raise ValueError(
                    f"layer {layer.name!r} must be used once to have a proved bound. "
                    "Received: a second use"
                )
            visited.add(id(layer))
            if node.arguments.kwargs.get("training"):
                raise ValueError(
                    f"layer {layer.name!r} must not be called in training mode. "
                    "Received: training=True"
                )
            _check_arguments(layer, node)
            inputs = [known[id(tensor)] for tensor in node.input_tensors]
            nested = isinstance(layer, keras.Model)
            output = fold_layers(layer, inputs[0], visit) if nested else visit(layer, inputs)
            known[id(node.output_tensors[0])] = output
    return known[id(network.outputs[0])]


def call_layer(layer: Any, inputs: list[Any], training: bool = False) -> Any:
    """A layer's output for the tensors of `fold_layers`.

    Args:
        layer: of a network that `fold_layers` walks through.
        inputs: its inputs, one tensor or those of a sum.
        training: whether batch normalisation and dropout work as in training.

    Returns:
        The output.

    Example:
        >>> fold_layers(network, images, call_layer)  # network(images)
    """
    argument = inputs if isinstance(layer, keras.layers.Add) else inputs[0]
    if isinstance(layer, (keras.layers.BatchNormalization, keras.layers.Dropout)):
        return layer(argument, training=training)
    return layer(argument)


def _check_arguments(layer: Any, node: Any) -> None:
    """Refuses constants among the arguments: nobody who visits the layer would hear of them."""
    for argument in keras.tree.flatten((node.arguments.args, node.arguments.kwargs)):
        if not (argument is None or argument is False or keras.utils.is_keras_tensor(argument)):
            raise ValueError(
                f"layer {layer.name!r} must be called on tensors of the network alone. "
                f"Received: {type(argument).__name__}"
            )


def _check_network(network: Any) -> None:
    if not hasattr(network, "_nodes_by_depth"):
        raise ValueError(
            f"network {network.name!r} must be a functional model. "
            f"Received: {type(network).__name__}"
        )
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise ValueError(
            f"network {network.name!r} must have one input and one output. "
            f"Received: {len(network.inputs)} and {len(network.outputs)}"
        )
