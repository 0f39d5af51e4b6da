"""The HTML page of one or several evaluations, and the files it is made from."""

from clustr_tf.evaluate.report.page import write_report
from clustr_tf.evaluate.report.reading import (
    Certificate,
    Evaluation,
    read_certificates,
    read_evaluation,
)

__all__ = [
    "Certificate",
    "Evaluation",
    "read_certificates",
    "read_evaluation",
    "write_report",
]
