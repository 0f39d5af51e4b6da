"""Which machines multiply bfloat16 faster."""

from unittest import mock

import pytest

from clustr_tf.run.precision import bfloat16_unit

DEVICES = "tensorflow.config.list_physical_devices"
DETAILS = "tensorflow.config.experimental.get_device_details"


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("flags\t\t: fpu avx512_bf16 amx_bf16 amx_tile\n", "AMX"),
        ("flags\t\t: fpu avx512_bf16 amx_int8\n", None),  # no faster than its float32
        ("", None),
    ],
)
def test_a_processor_needs_amx_for_bfloat16(tmp_path, text, unit):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text)
    with mock.patch(DEVICES, return_value=[]):
        assert bfloat16_unit(cpuinfo) == unit


def test_without_the_file_nothing_is_assumed(tmp_path):
    with mock.patch(DEVICES, return_value=[]):
        assert bfloat16_unit(tmp_path / "cpuinfo") is None


@pytest.mark.parametrize(
    ("capabilities", "unit"),
    [([(8, 0)], "tensor cores"), ([(7, 5)], None), ([(9, 0), (7, 5)], None), ([None], None)],
)
def test_all_gpus_need_tensor_cores_for_it_whatever_the_processor_has(tmp_path, capabilities, unit):
    (tmp_path / "cpuinfo").write_text("flags : amx_bf16")
    details = [{"compute_capability": found} if found else {} for found in capabilities]
    with mock.patch(DEVICES, return_value=capabilities), mock.patch(DETAILS, side_effect=details):
        assert bfloat16_unit(tmp_path / "cpuinfo") == unit
