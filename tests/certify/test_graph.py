"""1-Lipschitz networks in float64: the same function, and a bound close to 1."""

import keras
import numpy as np
import pytest

from clustr_tf.backbones import build_backbone
from clustr_tf.certify.graph import is_reparametrised, plain_network
from clustr_tf.certify.l2.lipschitz import lipschitz_bound
from clustr_tf.layers import AOLConv2D
from tests.layers.jacobian import singular_values

RNG = np.random.default_rng(0)
NAMES = ["lipschitz_cnn", "lipschitz_mlp", "lipschitz_resnet"]


def _scrambled(name, shape, width, unit_ball=False):
    """A backbone whose free weights are far from where they began."""
    keras.utils.set_random_seed(1)
    network = build_backbone(name, shape, unit_ball=unit_ball, width=width)
    network.set_weights(
        [weight + 0.2 * RNG.normal(size=weight.shape) for weight in network.get_weights()]
    )
    return network


@pytest.mark.parametrize("name", NAMES)
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


@pytest.mark.parametrize("name", NAMES)
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


def test_a_subclass_of_a_reparametrised_layer_is_left_alone_and_has_no_bound():
    """It may compute something else than the plain layer that would take its place."""

    class Own(AOLConv2D):
        pass

    images = keras.Input((4, 4, 2))
    network = keras.Model(images, Own(2, 3)(images))
    assert not is_reparametrised(network)
    with pytest.raises(ValueError, match="type with a proved Lipschitz bound"):
        lipschitz_bound(network)
