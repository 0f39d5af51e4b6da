"""What the roofline counts, by hand."""

from benchmarks.roofline import forward_flops, step_flops
from clustr_tf.backbones import build_backbone


def test_the_count_of_a_small_network_by_hand():
    """3x3 kernels of 1 -> 2, 2 -> 4 (stride 2) and 4 -> 8 channels on 8x8 images.

    Backward again as much to the weights and to the inputs, but not to the image.
    """
    network = build_backbone("small_cnn", (8, 8, 1), width=2)
    first, second, third = 2 * 9 * 1 * 2 * 64, 2 * 9 * 2 * 4 * 16, 2 * 9 * 4 * 8 * 16
    assert forward_flops(network) == first + second + third
    assert step_flops(network) == 2 * first + 3 * second + 3 * third


def test_resnet18_has_its_known_count():
    """0.56 thousand million multiplications with additions for 32x32 images, as published lists."""
    network = build_backbone("resnet18", (32, 32, 3))
    assert round(forward_flops(network) / 2e9, 2) == 0.56
