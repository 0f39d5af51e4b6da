"""1-Lipschitz networks in float64: the same function, and a bound close to 1."""

import keras
import numpy as np
import pytest

from clustr_tf.backbones import LIPSCHITZ_BACKBONES, build_backbone
from clustr_tf.certificates import is_reparametrised, layer_bound, lipschitz_bound, plain_network
from clustr_tf.layers import ScaledResidualConv2D
from tests.layers.jacobian import singular_values

RNG = np.random.default_rng(0)


def _scrambled(name, shape, width, unit_ball=False):
    """A backbone whose free weights are far from where they began."""
    keras.utils.set_random_seed(1)
    network = build_backbone(name, shape, unit_ball=unit_ball, width=width)
    network.set_weights(
        [weight + 0.2 * RNG.normal(size=weight.shape) for weight in network.get_weights()]
    )
    return network


@pytest.mark.parametrize("name", sorted(LIPSCHITZ_BACKBONES))
@pytest.mark.parametrize("unit_ball", [False, True])
def test_computes_what_the_network_computes(name, unit_ball):
    network = _scrambled(name, (8, 8, 2), 8, unit_ball)
    plain = plain_network(network)
    images = RNG.uniform(size=(4, 8, 8, 2)).astype(np.float32)
    expected = network(images).numpy()
    found = plain(images).numpy()
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(expected).max() > 0.1
    assert is_reparametrised(network)
    assert not is_reparametrised(plain)


@pytest.mark.parametrize("name", sorted(LIPSCHITZ_BACKBONES))
@pytest.mark.parametrize("unit_ball", [False, True])
def test_the_proved_bound_is_about_1_and_holds(name, unit_ball):
    plain = plain_network(_scrambled(name, (8, 8, 1), 8, unit_ball))
    bound = lipschitz_bound(plain)
    # Each of some ten layers is raised by 1e-9 for its own rounding, three times.
    assert 0.1 < bound.gain <= 1 + 1e-7
    assert bound.growth + max(bound.slack) < 1e-9
    for seed in range(3):
        point = np.random.default_rng(seed).uniform(size=(1, 8, 8, 1))
        assert singular_values(plain, point)[0] <= bound.gain


def test_too_large_factors_are_bounded_all_the_same():
    """One pixel, W = w, factor f: slopes 1 and 1 - f w^2; here 1 - 3 = -2."""
    layer = ScaledResidualConv2D(1, 1, dtype="float64")
    layer.build((None, 1, 1, 1))
    layer.set_weights([np.ones((1, 1, 1, 1)), np.zeros(1), np.array([3.0])])
    assert layer_bound(layer, (None, 1, 1, 1)).gain == pytest.approx(2.0, abs=1e-6)
    assert singular_values(layer, np.ones((1, 1, 1, 1)))[0] == pytest.approx(2.0)


def test_negative_factors_have_no_bound():
    layer = ScaledResidualConv2D(1, 1, dtype="float64")
    layer.build((None, 1, 1, 1))
    layer.set_weights([np.ones((1, 1, 1, 1)), np.zeros(1), np.array([-1.0])])
    with pytest.raises(ValueError, match=r"factors of at least 0. Received: -1"):
        layer_bound(layer, (None, 1, 1, 1))


def test_one_layer_in_float32_makes_all_rounding_that_of_float32():
    """Even a layer that computes nothing rounds where it narrows its input."""
    inputs = keras.Input((4,), dtype="float64")
    dense = keras.layers.Dense(3, dtype="float64")
    wide = dense(inputs)
    slacks = []
    for dtype in ("float64", "float32"):
        outputs = keras.layers.ReLU(dtype=dtype)(wide)
        slacks.append(max(lipschitz_bound(keras.Model(inputs, outputs)).slack))
    assert slacks[1] == pytest.approx(slacks[0] * 2**29, rel=1e-3)
