"""Whether this machine multiplies bfloat16 faster than float32."""

from pathlib import Path

import tensorflow as tf

_LEAST_GPU = (8, 0)  # compute capability whose tensor cores have bfloat16


def bfloat16_unit(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """What multiplies bfloat16 here.

    Args:
        cpuinfo: what Linux says of its processors.

    Returns:
        A name to be told; None if nothing does. With GPUs they alone count, and all of them.

    Example:
        >>> bfloat16_unit()  # "AMX"
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = map(tf.config.experimental.get_device_details, gpus)
        least = min(each.get("compute_capability", (0, 0)) for each in details)
        return "tensor cores" if least >= _LEAST_GPU else None
    if not cpuinfo.exists():
        return None
    return "AMX" if "amx_bf16" in cpuinfo.read_text(encoding="utf-8").split() else None
