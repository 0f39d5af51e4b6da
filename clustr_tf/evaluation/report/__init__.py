"""The HTML page of one or several evaluations, and the files it is made from."""

from clustr_tf.evaluation.report.certificates import Certificate, read_certificates
from clustr_tf.evaluation.report.page import write_report
from clustr_tf.evaluation.report.reading import Evaluation, read_evaluation

__all__ = [
    "Certificate",
    "Evaluation",
    "read_certificates",
    "read_evaluation",
    "write_report",
]
