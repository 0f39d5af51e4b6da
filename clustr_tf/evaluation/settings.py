"""The settings of an evaluation."""

from dataclasses import dataclass

from clustr_tf.attacks import PGDConfig


@dataclass(frozen=True)
class EvaluationConfig:
    """The brief evaluation that ends a training run, and the defaults of `evaluate`.

    Raises:
        ValueError: if there are no examples to evaluate.
    """

    attack: PGDConfig  # the attack behind pgd_accuracy
    examples: int = 1000  # the first so many test images; all if there are fewer
    batch_size: int = 250  # images attacked at once

    def __post_init__(self) -> None:
        for name in ("examples", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1. Received: {getattr(self, name)}")
