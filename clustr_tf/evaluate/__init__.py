"""Evaluation of finished models: attacks, diagnostics, the report.

Nothing is imported before it is asked for: `--help` needs no TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "any_model": ["RobustnessReport", "evaluate_robustness"],
        "attacking": ["Examples", "Memory"],
        "diagnostics": ["diagnose", "diagnostic_stages"],
        "pictures": ["draw_embedding_map"],
        "plan": ["EvaluationPlan"],
        "report": ["Evaluation", "read_certificates", "read_evaluation", "write_report"],
        "results": ["Diagnostic", "Measurements", "Outcome"],
        "run": ["BriefEvaluation", "evaluate_briefly", "measure", "run_evaluation"],
        "suite": ["ATTACKS", "PROTOCOLS", "NamedAttack", "Protocol", "Target", "build_stages"],
    },
)
