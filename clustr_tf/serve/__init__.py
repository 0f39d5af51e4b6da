"""Finished models as SavedModels, and what asks their servers.

Nothing is imported before it is asked for: `--help` needs no TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "onnx_model": ["write_onnx"],
        "options": ["ServingOptions"],
        "saving": ["export_savedmodel", "publish_version"],
        "signatures": ["ServingModule"],
        "transport": ["Server", "ServerError", "Transport"],
        "transport_grpc": ["GrpcTransport"],
        "transport_rest": ["RestTransport"],
    },
)
