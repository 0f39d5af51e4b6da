"""ResNet-18 against the official PyTorch network with weights given by a formula."""

import keras
import numpy as np
import pytest

from clustr_tf.backbones import build_backbone


def _hash(index, count):
    """The golden set's weight formula: integers in C order of the torch shape -> [-1, 1)."""
    mask = np.uint64(0xFFFFFFFF)
    h = (
        np.arange(count, dtype=np.uint64) * np.uint64(2654435761)
        + np.uint64(index) * np.uint64(40503)
    ) & mask
    h = ((h ^ (h >> np.uint64(15))) * np.uint64(2246822519)) & mask
    h = ((h ^ (h >> np.uint64(13))) * np.uint64(3266489917)) & mask
    h = h ^ (h >> np.uint64(16))
    return h / 2.0**31 - 1


def _weight(kind, index, shape, name):
    """Weights of parameter number `index` in PyTorch's layout."""
    count = int(np.prod(shape))
    fan_in = np.prod(shape[1:])
    is_scale = len(shape) == 1 and name.endswith("weight")
    if kind == "sin":
        values = np.sin(0.37 * np.arange(count) + index)
        matrix, scale, bias = values * 2 / np.sqrt(fan_in), 1 + 0.1 * values, 0.1 * values
    else:
        values = _hash(index, count)
        matrix, scale, bias = values * np.sqrt(6 / fan_in), 1 + 0.3 * values, 0.2 * values
    chosen = matrix if len(shape) > 1 else scale if is_scale else bias
    return chosen.reshape(shape)


def _torch_state(golden, kind):
    names = [str(name) for name in golden["g_resnet18/parameter_names"]]
    shapes = [tuple(map(int, str(s).split("x"))) for s in golden["g_resnet18/parameter_shapes"]]
    state = {
        name: _weight(kind, index, shape, name)
        for index, (name, shape) in enumerate(zip(names, shapes, strict=True))
    }
    buffers = [str(name) for name in golden["g_resnet18/buffer_names"]]
    for number, name in enumerate(buffers):
        if name.endswith("num_batches_tracked"):
            continue
        owner = name.rsplit(".", 1)[0] + ".weight"
        if kind == "sin":
            values = np.full(state[owner].shape, float(name.endswith("running_var")))
        else:
            u = _hash(1000 + number, state[owner].size)
            values = 1 + 0.5 * u if name.endswith("running_var") else 0.1 * u
        state[name] = values
    return state


def _torch_prefix(layer_name):
    """The official name of one of our layers, such as layer2.0.shortcut.0 (conv) or .1 (norm)."""
    part, kind = layer_name.rsplit("_", 1)
    is_norm = kind == "normalisation"
    if part == "stem":
        return "bn1" if is_norm else "conv1"
    stage, block, position = part.split("_")
    prefix = f"layer{stage[-1]}.{int(block[-1]) - 1}"
    if position == "shortcut":
        return f"{prefix}.shortcut.{int(is_norm)}"
    return f"{prefix}.{'bn' if is_norm else 'conv'}{position}"


def _load(model, state):
    used = set()
    for layer in model.layers:
        if not layer.weights:
            continue
        prefix = _torch_prefix(layer.name)
        if isinstance(layer, keras.layers.Conv2D):
            names = [f"{prefix}.weight"]
            values = [state[names[0]].transpose(2, 3, 1, 0)]
        else:
            names = [f"{prefix}.{n}" for n in ("weight", "bias", "running_mean", "running_var")]
            values = [state[name] for name in names]
        layer.set_weights(values)
        used.update(names)
    assert set(state) - used == {"linear.weight", "linear.bias"}


@pytest.mark.parametrize("kind", ["sin", "hash"])
def test_embeddings_and_logits_of_the_official_network(golden, kind):
    state = _torch_state(golden, kind)
    model = build_backbone("resnet18", (32, 32, 3))
    _load(model, state)
    images = golden[f"g_resnet18/{kind}/inputs_nchw_normalised"].transpose(0, 2, 3, 1)
    embeddings = np.asarray(model(images))
    expected = golden[f"g_resnet18/{kind}/f64/embeddings"]
    scale = np.abs(expected).max()
    np.testing.assert_allclose(embeddings, expected, rtol=1e-5, atol=1e-5 * scale)
    logits = embeddings.astype(np.float64) @ state["linear.weight"].T + state["linear.bias"]
    expected = golden[f"g_resnet18/{kind}/f64/logits"]
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_has_the_published_number_of_parameters(golden):
    """11,173,962 trainable parameters with the 512x10 linear layer and its 10 biases."""
    model = build_backbone("resnet18", (32, 32, 3))
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert trainable + 512 * 10 + 10 == golden["g_resnet18/num_parameters"] == 11_173_962
    assert model.output_shape == (None, 512)
