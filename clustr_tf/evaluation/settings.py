"""The settings of an evaluation."""

from dataclasses import dataclass

from clustr_tf.attacks import PGDConfig


@dataclass(frozen=True)
class EvaluationConfig:
    """The brief evaluation that ends a training run, and the defaults of `evaluate`.

    Raises:
        ValueError: if a number is out of range.
    """

    attack: PGDConfig  # the attack behind pgd_accuracy
    examples: int = 1000  # the first so many test images; all if there are fewer
    batch_size: int = 250  # images attacked at once
    apgd_steps: int = 100  # of apgd_ce and of each target of apgd_t
    square_queries: int = 5000  # of square
    paper_steps: int = 20  # of pgd_paper; the paper also has 100
    paper_restarts: int = 10  # of pgd_paper
    curve: tuple[float, ...] = (0.25, 0.5, 0.75, 1.5, 2.0)  # its other radii, multiples of eps
    diagnostic_examples: int = 200  # the first so many examples are diagnosed; 0 for none

    def __post_init__(self) -> None:
        for name in (
            *("examples", "batch_size", "apgd_steps", "square_queries"),
            *("paper_steps", "paper_restarts"),
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1. Received: {getattr(self, name)}")
        if self.diagnostic_examples < 0:
            raise ValueError(
                f"diagnostic_examples must be at least 0. Received: {self.diagnostic_examples}"
            )
        if not all(0 < multiple < float("inf") for multiple in self.curve):
            raise ValueError(f"curve must be numbers above 0. Received: {self.curve}")
