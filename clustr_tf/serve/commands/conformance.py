"""`python -m export.conformance`: does a running server answer as the workdir's model does?"""

import dataclasses

from absl import flags
from rich.console import Console
from rich.markup import escape

from clustr_tf.cli.flags import TRUST_PLUGINS, quiet_start, required_workdir, run
from clustr_tf.run.errors import InputError, RunError
from clustr_tf.serve.commands.client import MODEL, VERSION, connect, server_of_flags
from clustr_tf.serve.options import DEFAULTS, LINF, MOST_IMAGE_BYTES, ON_INVALID, ServingOptions
from clustr_tf.serve.transport import ServerError

_REST_PORT = flags.DEFINE_integer(
    "rest_port",
    None,
    "also checks REST there, without TLS, which TensorFlow Serving has not got for it",
)
_ON_INVALID = flags.DEFINE_enum(
    "on_invalid", DEFAULTS.on_invalid, ON_INVALID, "what the model was exported with"
)
_MAX_IMAGE_BYTES = flags.DEFINE_integer(
    "max_image_bytes",
    DEFAULTS.max_image_bytes,
    "what the model was exported with; one byte more must be refused",
    lower_bound=1,
    upper_bound=MOST_IMAGE_BYTES,
)
_LINF = flags.DEFINE_enum("linf", DEFAULTS.linf, LINF, "what the model was exported with")
flags.declare_key_flag("workdir")
flags.declare_key_flag("trust_plugins")
for _name in ("host", "port", "model", "version", "label", "timeout", "ca_file", "max_megabytes"):
    flags.declare_key_flag(_name)


def main() -> None:
    """Runs every check and prints whether it passed."""
    workdir_root = required_workdir()
    grpc_server = server_of_flags("grpc")
    servers = {"grpc": grpc_server}
    if _REST_PORT.value is not None:
        servers["rest"] = dataclasses.replace(grpc_server, port=_REST_PORT.value, ca_file=None)
    with quiet_start():
        from clustr_tf.cli.config import trusted_classifier
        from clustr_tf.run.workdir import Workdir
        from clustr_tf.serve.conformance_checks import Model, checks_of

    classifier = trusted_classifier(Workdir(workdir_root), TRUST_PLUGINS.value)
    options = ServingOptions(
        _ON_INVALID.value, max_image_bytes=_MAX_IMAGE_BYTES.value, linf=_LINF.value
    )
    try:
        model = Model(classifier, options)
    except ValueError as error:
        raise InputError(str(error)) from error
    console, failed, count = Console(soft_wrap=True), 0, 0
    for protocol, server in servers.items():
        unversioned = dataclasses.replace(server, version=None, label=None)
        strangers = {
            "an unknown model": dataclasses.replace(unversioned, model=f"no_{MODEL.value}"),
            "an unknown version": dataclasses.replace(
                unversioned, version=(VERSION.value or 0) + 10**6
            ),
        }
        for check in checks_of(
            connect(server, protocol),
            {name: connect(stranger, protocol) for name, stranger in strangers.items()},
            model,
            options,
        ):
            count += 1
            try:
                check.run()
            except (AssertionError, ServerError) as error:
                failed += 1
                console.print(f"[red]FAIL[/] {protocol}: {escape(f'{check.name}: {error}')}")
            else:
                console.print(f"[green]pass[/] {protocol}: {escape(check.name)}")
    console.print(f"{count - failed} of {count} checks passed")
    if failed:
        raise RunError(f"{failed} of {count} checks failed")


def cli() -> None:
    """Entry point of `clustr-conformance`."""
    run(main)


if __name__ == "__main__":
    cli()
