"""The layers of a network: its graph, and its reparametrised layers as plain ones."""

from collections.abc import Callable
from typing import Any, TypeVar

import keras
from keras import ops

from clustr_tf.layers import AOLConv2D, OrthogonalDense, ScaledResidualConv2D, SLLConv2D
from clustr_tf.layers.lipschitz_weights import aol_kernel, cayley
from clustr_tf.layers.sll_conv2d import sll_factors

Value = TypeVar("Value")


def fold_layers(
    network: keras.Model, value: Value, visit: Callable[[Any, list[Value]], Value]
) -> Value:
    """Carries a value from the input of a functional network to its output.

    Nested models are walked through as if their layers stood in their place. The order of the
    visits is always the same.

    Args:
        network: functional or Sequential, one input and one output, every layer used once.
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
    network = _functional(network)
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
            _check_call(layer, node.arguments)
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


def is_reparametrised(network: keras.Model) -> bool:
    """Whether a functional network has layers that work out their weights at every call.

    Args:
        network: functional or Sequential.

    Returns:
        True if it, or a model nested in it, has a layer of `PLAIN_LAYERS`.
    """
    return any(
        is_reparametrised(layer) if isinstance(layer, keras.Model) else type(layer) in PLAIN_LAYERS
        for layer in network.layers
    )


def plain_network(network: keras.Model) -> keras.Model:
    """The same function in float64, made of layers that take their weights as they are.

    Float32 would round by up to some 0.1 pixels in a deep network, as far as can be proved layer by
    layer: as much as the radii to be certified. With float64 it is 1e-9 of that. The bound of
    the network is then computed from these very weights by `lipschitz_bound`.

    WARNING: certificates of the result hold for the result, not for the float32 network that was
    trained: where two scores are within the rounding of float32, the two may disagree.

    Args:
        network: functional, one input and one output.

    Returns:
        A functional model with the same shapes and float64 output.

    Raises:
        ValueError: if the network is not of that form.

    Example:
        >>> lipschitz_bound(plain_network(build_backbone("lipschitz_cnn", (8, 8, 1)))).gain  # <= 1
    """
    inputs = keras.Input(network.input_shape[1:], dtype="float64", name=network.inputs[0].name)

    def visit(layer: Any, values: list[Any]) -> Any:
        plain, weights = PLAIN_LAYERS.get(type(layer), _copied)(layer)
        value = plain(values if len(values) > 1 else values[0])
        plain.set_weights(weights)
        return value

    return keras.Model(inputs, fold_layers(network, inputs, visit), name=network.name)


def _functional(network: Any) -> keras.Model:
    """The network as a functional model; refuses what is none."""
    if isinstance(network, keras.Sequential) and network.built:
        network = keras.Model(network.inputs, network.outputs, name=network.name)
    if not hasattr(network, "_nodes_by_depth"):
        raise ValueError(
            f"network {network.name!r} must be a functional model, or a Sequential one of known "
            f"input shape. Received: {type(network).__name__}"
        )
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise ValueError(
            f"network {network.name!r} must have one input and one output. "
            f"Received: {len(network.inputs)} and {len(network.outputs)}"
        )
    return network


def _check_call(layer: Any, arguments: Any) -> None:
    """Refuses training mode, and constants: nobody who visits the layer would hear of them."""
    if arguments.kwargs.get("training"):
        raise ValueError(
            f"layer {layer.name!r} must not be called in training mode. Received: training=True"
        )
    for argument in keras.tree.flatten((arguments.args, arguments.kwargs)):
        if not (argument is None or argument is False or keras.utils.is_keras_tensor(argument)):
            raise ValueError(
                f"layer {layer.name!r} must be called on tensors of the network alone. "
                f"Received: {type(argument).__name__}"
            )


_Plain = tuple[keras.layers.Layer, list[Any]]  # a layer, not built, and its weights


def _copied(layer: keras.layers.Layer) -> _Plain:
    plain = type(layer).from_config({**layer.get_config(), "dtype": "float64"})
    return plain, layer.get_weights()


def _plain_convolution(layer: AOLConv2D) -> _Plain:
    plain = keras.layers.Conv2D(
        layer.filters,
        layer.kernel_size,
        layer.strides,
        layer.padding,
        use_bias=layer.use_bias,
        dtype="float64",
        name=layer.name,
    )
    kernel = aol_kernel(_wide(layer.kernel), layer.strides)
    return plain, [ops.convert_to_numpy(kernel), *layer.get_weights()[1:]]


def _plain_dense(layer: OrthogonalDense) -> _Plain:
    plain = keras.layers.Dense(layer.units, dtype="float64", name=layer.name)
    kernel = cayley(_wide(layer.kernel))
    return plain, [ops.convert_to_numpy(kernel), *layer.get_weights()[1:]]


def _plain_residual(layer: SLLConv2D) -> _Plain:
    inner = layer.bias.shape[0]
    plain = ScaledResidualConv2D(layer.kernel_size, inner, dtype="float64", name=layer.name)
    kernel = _wide(layer.kernel)
    factors = sll_factors(kernel, _wide(layer.logits))
    return plain, [*map(ops.convert_to_numpy, (kernel, layer.bias, factors))]


# Reparametrised layer -> a float64 layer, not built, and its weights worked out in float64. All
# other layers are copied. Exact types: a subclass may compute something else.
PLAIN_LAYERS: dict[type, Callable[[Any], _Plain]] = {
    AOLConv2D: _plain_convolution,
    OrthogonalDense: _plain_dense,
    SLLConv2D: _plain_residual,
}


def _wide(weight: Any) -> Any:
    return ops.cast(ops.convert_to_tensor(weight), "float64")
