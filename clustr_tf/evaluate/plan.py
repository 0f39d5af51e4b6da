"""How an evaluation attacks: radius, norm, effort, images."""

from dataclasses import dataclass, replace

from clustr_tf.attacks import PGD
from clustr_tf.run.checks import check_at_least, check_one_of

_EFFORTS = (
    "examples",
    "batch_size",
    "apgd_steps",
    "fab_steps",
    "square_queries",
    "paper_steps",
    "paper_restarts",
)


@dataclass(frozen=True)
class EvaluationPlan:
    """The effort of an evaluation: of the brief one after training and of `evaluate`.

    Raises:
        ValueError: if a number is out of range.

    Example:
        >>> EvaluationPlan(PGD(eps=8 / 255, step_size=2 / 255, steps=20), examples=500)
    """

    attack: PGD  # radius and norm of all attacks; the attack behind pgd_accuracy
    examples: int = 1000  # the first so many test images; all if there are fewer
    batch_size: int = 250  # images attacked at once
    apgd_steps: int = 100  # of apgd_ce and of each target of apgd_t
    fab_steps: int = 100  # of fab and of each target of fab_t
    square_queries: int = 5000  # of square
    paper_steps: int = 20  # of pgd_paper; the paper also has 100
    paper_restarts: int = 10  # of pgd_paper
    curve: tuple[float, ...] = (0.25, 0.5, 0.75, 1.5, 2.0)  # its other radii, multiples of eps
    diagnostic_examples: int = 200  # the first so many examples are diagnosed; 0 for none
    search_precision: str = "float32"  # of the backbone in gradients; auto, mixed_bfloat16

    def __post_init__(self) -> None:
        check_at_least(self, 1, *_EFFORTS)
        check_at_least(self, 0, "diagnostic_examples")
        check_one_of(self, ("auto", "float32", "mixed_bfloat16"), "search_precision")
        if not all(0 < multiple < float("inf") for multiple in self.curve):
            raise ValueError(f"curve must be numbers above 0. Received: {self.curve}")

    def replaced(
        self,
        eps: float | None = None,
        norm: str | None = None,
        examples: int | None = None,
        steps: int | None = None,
        restarts: int | None = None,
        search_precision: str | None = None,
    ) -> "EvaluationPlan":
        """The plan with other values; None leaves its own.

        Args:
            eps: radius in pixels; the step of PGD keeps its ratio to it.
            norm: "linf" or "l2"; another norm than the plan's needs an eps.
            examples: the first so many test images.
            steps: of PGD.
            restarts: of PGD.
            search_precision: of the backbone in gradients.

        Returns:
            The other plan.

        Raises:
            ValueError: if a value is out of range, or an eps is missing.

        Example:
            >>> plan.replaced(eps=0.5, norm="l2")
        """
        attack = self.attack
        if eps is None and norm not in (None, attack.norm):
            raise ValueError(
                f"norm={norm} needs eps=RADIUS: the plan's own eps {attack.eps:g} is a radius in "
                f"{attack.norm}"
            )
        if eps is not None:
            attack = replace(attack, eps=eps, step_size=attack.step_ratio * eps)
        return replace(
            self,
            attack=replace(
                attack,
                norm=norm or attack.norm,
                steps=attack.steps if steps is None else steps,
                restarts=attack.restarts if restarts is None else restarts,
            ),
            examples=self.examples if examples is None else examples,
            search_precision=search_precision or self.search_precision,
        )
