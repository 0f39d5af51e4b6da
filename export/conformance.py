"""`python -m export.conformance`: does a running server answer as the workdir's model does?"""

from clustr_tf.serve.commands.conformance import cli

if __name__ == "__main__":
    cli()
