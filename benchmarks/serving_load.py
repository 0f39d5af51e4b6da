"""Eight clients at once against a running server: is every answer right, and how long does it take?

    python -m benchmarks.serving_load --workdir=runs/plain --port=8500 --seconds=60

Each client asks `serving_default` for batches of 1 to 4 random images over gRPC and compares all
outputs with the workdir's model: classes exactly, the rest within 1e-4 of the largest value, radii
no more than 1e-6 above. The figures of docs/results.md are of the test double
(`python -m tests.serve.double models/plain/1 clustr`), which is no model server.
"""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from absl import flags

from clustr_tf.cli.flags import required_workdir, run
from clustr_tf.run.errors import RunError
from clustr_tf.serve.commands.client import connect, server_of_flags

_SECONDS = flags.DEFINE_float("seconds", 60.0, "how long every client asks")
_CLIENTS = flags.DEFINE_integer("clients", 8, "at once", 1)
_IMAGES, _MOST = 64, 4
flags.declare_key_flag("workdir")


def main() -> None:
    """Asks, and prints what came of it."""
    server, workdir_root = server_of_flags("grpc"), required_workdir()
    from clustr_tf.run.workdir import Workdir
    from clustr_tf.serve.conformance_checks import Model, check_outputs
    from clustr_tf.serve.transport import ServerError

    model = Model(Workdir(workdir_root).load_classifier())
    images = model.images(_IMAGES)
    wanted = model.answers(images)
    end = time.monotonic() + _SECONDS.value

    def client(number: int) -> tuple[list[float], int]:
        transport, rng = connect(server, "grpc"), np.random.default_rng(number)
        seconds, wrong = [], 0
        while time.monotonic() < end:
            rows = rng.integers(0, _IMAGES, rng.integers(1, _MOST + 1))
            begin = time.perf_counter()
            found = transport.ask("serving_default", {"images": images[rows]})
            seconds.append(time.perf_counter() - begin)
            try:
                chosen = {name: values[rows] for name, values in wanted.items()}
                check_outputs("serving_default", found, chosen, typed=True)
            except AssertionError:
                wrong += 1
        return seconds, wrong

    with ThreadPoolExecutor(_CLIENTS.value) as executor:
        try:
            results = list(executor.map(client, range(_CLIENTS.value)))
        except ServerError as error:
            raise RunError(f"a client was not answered: {error}") from error
    seconds = np.concatenate([times for times, _ in results])
    wrong = sum(count for _, count in results)
    median, slow = 1e3 * np.quantile(seconds, [0.5, 0.99])
    print(
        f"{_CLIENTS.value} clients, {_SECONDS.value:g} s: {len(seconds)} requests, {wrong} wrong, "
        f"p50 {median:.1f} ms, p99 {slow:.1f} ms"
    )
    if wrong:
        raise RunError(f"{wrong} of {len(seconds)} answers were wrong")


if __name__ == "__main__":
    run(main)
