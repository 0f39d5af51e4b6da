"""Proved upper bounds of the l2 norms of matrices and of zero-padded strided convolutions."""

import math
from collections.abc import Sequence

import numpy as np

from clustr_tf.certificates.rounding import UNIT_ROUNDOFF

# LAPACK's eigenvalues and the Fourier transform are backward stable: the relative error of the
# largest value is a small multiple of the dimension times 2^-53, far below this.
_FLOAT64_SLACK = 1e-9


def spectral_norm(matrices: np.ndarray) -> float:
    """Upper bound of the largest singular value of any of the matrices.

    Args:
        matrices: `[..., rows, columns]`, real or complex.

    Returns:
        The largest singular value, raised by the slack for its own rounding.

    Example:
        >>> spectral_norm(np.diag([1.0, 2.0]))  # 2.000000002
    """
    if matrices.shape[-2] > matrices.shape[-1]:
        matrices = matrices.swapaxes(-2, -1)
    # The largest eigenvalue of A A* is as accurate as the largest singular value, in half the time.
    gram = matrices @ matrices.conj().swapaxes(-2, -1)
    # For m x n the product errs by gamma_n |A|_F^2 <= m gamma_n |A|^2; the root halves that.
    slack = 1 + _FLOAT64_SLACK + math.prod(matrices.shape[-2:]) * UNIT_ROUNDOFF["float64"]
    return math.sqrt(max(np.linalg.eigvalsh(gram).max(), 0)) * slack


def convolution_norm(
    kernel: np.ndarray, strides: Sequence[int], input_size: Sequence[int]
) -> float:
    """Upper bound of the l2 norm of a convolution, whatever its padding: not a power iteration.

    Proof. Put the image on a torus of size N >= H + k - 1 (a multiple of the stride s), zero
    elsewhere. A window that begins in [-(k - 1), H - 1], as every window of "valid" and of "same"
    padding does, meets there the pixels and zeros that it meets in the padded image: the outputs
    of the convolution are some of those of the circular convolution on the torus. Restricting
    inputs and outputs cannot raise the norm of a linear map. Split by phase, input pixel s p + r
    becoming channel r of position p, the circular convolution has stride 1 on N/s positions, and
    the discrete Fourier transform, a unitary map, splits it into one [in * s^2, out] block for each
    frequency: its norm is the largest singular value of any block. Conjugate frequencies have
    conjugate blocks, as the kernel is real: half of them are enough.

    Args:
        kernel: `[height, width, in, out]`.
        strides: of rows and columns.
        input_size: (height, width) of the unpadded input.

    Returns:
        The norm on the torus, raised by the slack for its own rounding.

    Example:
        >>> convolution_norm(np.ones((1, 1, 1, 1)), (1, 1), (8, 8))  # 1.000000001

    Reference:
        Sedghi et al., arXiv 1805.10408, theorem 6, for stride 1 on a torus.
    """
    blocks = np.fft.rfft2(_phases_on_torus(kernel, strides, input_size), axes=(0, 1))
    return max(spectral_norm(row) for row in blocks)


def absolute_convolution_norm(kernel: np.ndarray, strides: Sequence[int]) -> float:
    """Upper bound of the l2 norm of the convolution with the absolute values of the kernel.

    No block is entrywise above that of frequency 0, the sum of the kernel over the positions of a
    phase, and the norm of non-negative matrices grows with their entries.

    Args:
        kernel: `[height, width, in, out]`.
        strides: of rows and columns.

    Returns:
        The norm, raised by the slack for its own rounding.

    Example:
        >>> absolute_convolution_norm(np.array([1.0, -2.0]).reshape(1, 2, 1, 1), (1, 1))  # 3
    """
    return spectral_norm(_phases_on_torus(np.abs(kernel), strides, (1, 1)).sum(axis=(0, 1)))


def _phases_on_torus(
    kernel: np.ndarray, strides: Sequence[int], input_size: Sequence[int]
) -> np.ndarray:
    """The kernel on the smallest torus that will do, `[rows, columns, in * stride^2, out]`."""
    height, width, inputs, outputs = kernel.shape
    rows, columns = (
        math.ceil((size + taps - 1) / stride)
        for size, taps, stride in zip(input_size, (height, width), strides, strict=True)
    )
    on_torus = np.zeros((rows * strides[0], columns * strides[1], inputs, outputs))
    on_torus[:height, :width] = kernel
    phases = on_torus.reshape(rows, strides[0], columns, strides[1], inputs, outputs)
    return phases.transpose(0, 2, 1, 3, 4, 5).reshape(rows, columns, -1, outputs)
