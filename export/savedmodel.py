"""`python -m export.savedmodel`: writes a numbered SavedModel version for TensorFlow Serving."""

from clustr_tf.serve.commands.savedmodel import cli

if __name__ == "__main__":
    cli()
