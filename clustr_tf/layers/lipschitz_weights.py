"""Weights of 1-Lipschitz layers from free ones, in closed form."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


def cayley(matrix: Any) -> Any:
    """An orthogonal matrix from any matrix.

    With U the upper square and V the rest of a tall W, A = U - U^T + V^T V and Z = (I + A)^-1:
    Q = [Z (I - A); -2 V Z] has orthonormal columns, and I + A is always invertible, as A plus its
    transpose is positive semi-definite. Of a wide W the transpose is taken.

    Args:
        matrix: `[rows, columns]`.

    Returns:
        `[rows, columns]` with orthonormal columns, or rows if there are fewer of them.

    Example:
        >>> cayley(np.zeros((2, 2)))  # the identity

    Reference:
        Trockman and Kolter, arXiv 2104.07167, section 3 and appendix B.
    """
    rows, columns = matrix.shape
    if columns > rows:
        return ops.transpose(cayley(ops.transpose(matrix)))
    upper, rest = matrix[:columns], matrix[columns:]
    identity = ops.eye(columns, dtype=matrix.dtype)
    skewed = upper - ops.transpose(upper) + ops.matmul(ops.transpose(rest), rest)
    inverse = ops.inv(identity + skewed)
    # (I + A)^-1 (I - A) = 2 (I + A)^-1 - I.
    return ops.concatenate([2 * inverse - identity, -2 * ops.matmul(rest, inverse)])


def aol_kernel(kernel: Any, strides: Sequence[int] = (1, 1)) -> Any:
    """A kernel whose convolution is 1-Lipschitz, from any kernel.

    Proof. On an unbounded image with every window J^T J has, in the row of a pixel's channel c,
    the entries of the autocorrelation of the kernel, whose absolute values add up to t_c. So
    diag(t) - J^T J is diagonally dominant and D J^T J D <= I for D = diag(t^-1/2). Every padding
    with zeros restricts inputs and outputs, which cannot raise the norm. With strides, the s^2
    phases of the pixels are channels of a coarser image, on which the convolution has stride 1; a
    tap sees one phase.

    If there are fewer channels out than in (times s^2), J^T J is singular and no D makes it the
    identity; the outputs are rescaled instead, by the same argument for J J^T. So a kernel with
    orthogonal rows or columns keeps its norm, and the smaller matrix is the cheaper one.

    Args:
        kernel: `[height, width, in, out]`.
        strides: of rows and columns.

    Returns:
        The rescaled kernel; channels whose taps are all 0 stay 0.

    Example:
        >>> aol_kernel(np.full((1, 1, 1, 1), 5.0))  # 1.0

    Reference:
        Prach and Lampert, arXiv 2208.03160, theorem 1 and section 4.
    """
    height, width, inputs, outputs = kernel.shape
    rows, columns = (-(-size // s) for size, s in zip((height, width), strides, strict=True))
    pads = [(0, rows * strides[0] - height), (0, columns * strides[1] - width), (0, 0), (0, 0)]
    phases = ops.reshape(
        ops.pad(kernel, pads), (rows, strides[0], columns, strides[1], inputs, outputs)
    )
    coarse = ops.reshape(ops.transpose(phases, (0, 2, 1, 3, 4, 5)), (rows, columns, -1, outputs))
    if outputs < coarse.shape[2]:
        return kernel * _inverse_root(_correlation_sums(ops.transpose(coarse, (0, 1, 3, 2))))
    scale = _inverse_root(_correlation_sums(coarse))
    scaled = phases * ops.reshape(scale, (1, strides[0], 1, strides[1], inputs, 1))
    scaled = ops.reshape(scaled, (rows * strides[0], columns * strides[1], inputs, outputs))
    return scaled[:height, :width]


def sll_diagonal(kernel: Any, logits: Any) -> Any:
    """A diagonal T with T >= W^T W for W the convolution from the inner channels of a residual.

    t_i = sum_j |W^T W|_ij q_j / q_i with q = exp(logits) > 0 makes T - W^T W diagonally dominant,
    for any zero padding (see `aol_kernel`).

    Args:
        kernel: `[height, width, channels, inner]`.
        logits: `[inner]`.

    Returns:
        `[inner]`.

    Example:
        >>> sll_diagonal(np.full((1, 1, 1, 1), 3.0), np.zeros(1))  # [9.]

    Reference:
        Araujo et al., arXiv 2303.03169, theorem 2 and equation 9.
    """
    products = absolute_correlations(ops.transpose(kernel, (0, 1, 3, 2)))
    ratios = ops.exp(ops.expand_dims(logits, 0) - ops.expand_dims(logits, 1))
    return ops.sum(products * ratios, axis=1)


def absolute_correlations(kernel: Any) -> Any:
    """Absolute scalar products of a kernel's input channels, added up over all shifts.

    A shift the other way gives the transposed products, so that half of the shifts are enough. One
    product of matrices a shift multiplies no zeros: a fifth of the multiplications of a convolution
    with the padded 3x3 kernel, forwards and backwards.

    Args:
        kernel: `[height, width, in, out]`.

    Returns:
        `[in, in]`, symmetric.

    Example:
        >>> absolute_correlations(np.array([1.0, -2.0]).reshape(1, 2, 1, 1))  # [[9.]]: 2 + 5 + 2
    """
    height, width = kernel.shape[:2]
    taps = [[kernel[row, column] for column in range(width)] for row in range(height)]

    def products(down: int, right: int) -> Any:
        pairs = [
            (taps[row][column], taps[row + down][column + right])
            for row in range(height - down)
            for column in range(max(-right, 0), min(width - right, width))
        ]
        first, second = (ops.concatenate(part, axis=1) for part in zip(*pairs, strict=True))
        return ops.abs(ops.matmul(first, ops.transpose(second)))

    shifts = [(0, right) for right in range(1, width)]
    shifts += [(down, right) for down in range(1, height) for right in range(1 - width, width)]
    total = products(0, 0)
    for shift in shifts:
        shifted = products(*shift)
        total = total + shifted + ops.transpose(shifted)
    return total


def centred_isometry(shape: Sequence[int], strides: Sequence[int] = (1, 1)) -> Any:
    """A random kernel to begin with: nothing shrinks that need not.

    One window of the size of the strides, in the middle of the kernel, is mapped orthogonally.

    Args:
        shape: `(height, width, in, out)`, height and width at least the strides.
        strides: of rows and columns.

    Returns:
        float32 kernel; an isometry if `out >= in * strides[0] * strides[1]`.
    """
    height, width, inputs, outputs = shape
    rows = inputs * strides[0] * strides[1]
    window = ops.reshape(
        keras.initializers.Orthogonal()((rows, outputs)), (*strides, inputs, outputs)
    )
    top, left = (height - strides[0]) // 2, (width - strides[1]) // 2
    bottom, right = height - strides[0] - top, width - strides[1] - left
    return ops.pad(window, [(top, bottom), (left, right), (0, 0), (0, 0)])


def _correlation_sums(kernel: Any) -> Any:
    """Of every input channel, its absolute correlations with all: `[in]`."""
    return ops.sum(absolute_correlations(kernel), axis=1)


def _inverse_root(values: Any) -> Any:
    """1 / sqrt(values), 0 where they are 0, where the root has no gradient."""
    positive = values > 0
    return ops.where(positive, ops.rsqrt(ops.where(positive, values, 1)), 0)
