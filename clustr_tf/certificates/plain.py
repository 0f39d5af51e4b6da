"""1-Lipschitz networks with their weights worked out, in float64: what is certified and served."""

from functools import singledispatch
from typing import Any

import keras
from keras import ops

from clustr_tf.certificates.graph import fold_layers
from clustr_tf.layers import AOLConv2D, OrthogonalDense, ScaledResidualConv2D, SLLConv2D
from clustr_tf.layers.lipschitz_weights import aol_kernel, cayley
from clustr_tf.layers.sll_conv2d import sll_factors

_REPARAMETRISED = (AOLConv2D, OrthogonalDense, SLLConv2D)


def is_reparametrised(network: keras.Model) -> bool:
    """Whether a functional network has layers that work out their weights at every call.

    Args:
        network: functional.

    Returns:
        True if it has an `AOLConv2D`, `OrthogonalDense` or `SLLConv2D`.
    """
    return any(isinstance(layer, _REPARAMETRISED) for layer in network.layers)


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
        plain = plain_layer(layer)
        value = plain(values if len(values) > 1 else values[0])
        plain.set_weights(plain_weights(layer))
        return value

    return keras.Model(inputs, fold_layers(network, inputs, visit), name=network.name)


@singledispatch
def plain_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    """A layer in float64 for the weights of `plain_weights`; most layers are copied.

    Args:
        layer: built.

    Returns:
        The layer, not built.
    """
    return type(layer).from_config({**layer.get_config(), "dtype": "float64"})


@plain_layer.register
def _convolution(layer: AOLConv2D) -> keras.layers.Layer:
    return keras.layers.Conv2D(
        layer.filters,
        layer.kernel_size,
        layer.strides,
        layer.padding,
        use_bias=layer.use_bias,
        dtype="float64",
        name=layer.name,
    )


@plain_layer.register
def _dense(layer: OrthogonalDense) -> keras.layers.Layer:
    return keras.layers.Dense(layer.units, dtype="float64", name=layer.name)


@plain_layer.register
def _residual(layer: SLLConv2D) -> keras.layers.Layer:
    inner = layer.bias.shape[0]
    return ScaledResidualConv2D(layer.kernel_size, inner, dtype="float64", name=layer.name)


@singledispatch
def plain_weights(layer: keras.layers.Layer) -> list[Any]:
    """The weights of the plain layer, worked out in float64.

    Args:
        layer: built.

    Returns:
        Arrays in the order of the plain layer's weights.
    """
    return layer.get_weights()


@plain_weights.register
def _convolution_weights(layer: AOLConv2D) -> list[Any]:
    kernel = aol_kernel(_wide(layer.kernel), layer.strides)
    return [ops.convert_to_numpy(kernel), *layer.get_weights()[1:]]


@plain_weights.register
def _dense_weights(layer: OrthogonalDense) -> list[Any]:
    return [ops.convert_to_numpy(cayley(_wide(layer.kernel))), *layer.get_weights()[1:]]


@plain_weights.register
def _residual_weights(layer: SLLConv2D) -> list[Any]:
    kernel = _wide(layer.kernel)
    factors = sll_factors(kernel, _wide(layer.logits))
    return [*map(ops.convert_to_numpy, (kernel, layer.bias, factors))]


def _wide(weight: Any) -> Any:
    return ops.cast(ops.convert_to_tensor(weight), "float64")
