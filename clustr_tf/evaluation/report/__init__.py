"""The HTML page of one or several evaluations."""

from clustr_tf.evaluation.report.page import write_report
from clustr_tf.evaluation.report.reading import Evaluation, read_evaluation

__all__ = ["Evaluation", "read_evaluation", "write_report"]
