"""`python -m export.onnx`: an exported version as an ONNX model."""

from clustr_tf.serve.commands.onnx import cli

if __name__ == "__main__":
    cli()
