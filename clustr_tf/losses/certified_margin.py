"""A loss on certified radii: what a certificate lacks up to a margin."""

from typing import Any

from keras import ops


def certified_margin_loss(radii: Any, labels: Any, margin: float, temperature: float) -> Any:
    """Smooth maximum of what the radii to the other classes lack up to a margin.

        t log(1 + sum_{k != y} exp((margin - r_k) / t))

    It is at least max_k (margin - r_k)+ and at most t log C more: it goes on pulling until every
    radius exceeds the margin by a few t, and then stops. Cross-entropy on radii is its limit
    for a large margin.

    Args:
        radii: `[batch, C]` signed radii to every class, such as `signed_class_radii`; that of the
            label is not looked at.
        labels: int `[batch]`.
        margin: in units of the radii: pixels if the network is 1-Lipschitz.
        temperature: t > 0, in the same units.

    Returns:
        `[batch]`, positive, in the same units.

    Raises:
        ValueError: if the margin is negative or the temperature is not positive.

    Example:
        >>> certified_margin_loss([[0.0, 1.0]], [0], margin=1.0, temperature=1.0)  # [0.693]

    Reference:
        Prach and Lampert, arXiv 2208.03160, equation 12 (a softmax with an offset and a
        temperature, on logits); here on the certified radii themselves.
    """
    if margin < 0 or not temperature > 0:
        raise ValueError(
            "margin must be at least 0 and temperature above 0. "
            f"Received: {margin} and {temperature}"
        )
    radii, labels = ops.convert_to_tensor(radii), ops.convert_to_tensor(labels)
    classes = ops.arange(radii.shape[1], dtype=labels.dtype)
    is_label = ops.equal(classes, ops.expand_dims(labels, 1))
    # The label's own exponent is that of the 1 in the logarithm.
    lacking = ops.where(is_label, 0, (margin - radii) / temperature)
    return temperature * ops.logsumexp(lacking, axis=1)
