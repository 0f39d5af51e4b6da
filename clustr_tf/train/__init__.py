"""Training: batches in, a finished classifier out, resumable at every step.

Nothing is imported before it is asked for: `--help` needs no TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["callbacks"],
    submod_attrs={
        "keras_face": ["fit"],
        "run": ["Plan", "Trained", "train"],
        "settings": [
            "SCHEDULES",
            "Clustering",
            "Constant",
            "Cosine",
            "Milestones",
            "Training",
        ],
        "trainer": ["Trainer", "TrainingImages"],
    },
)
