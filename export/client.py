"""`python -m export.client`: asks a running model server about an image or a folder of images."""

from clustr_tf.serve.commands.client import cli

if __name__ == "__main__":
    cli()
