"""What is measured of a run once and then remembered."""

import json

from benchmarks import runs


def test_another_number_of_images_is_measured_again(tmp_path, monkeypatch):
    """100 images are asked for twice, where a file about 400 lies."""
    file, asked = tmp_path / "robustness.json", []
    file.write_text(json.dumps({"examples": 400}))

    def measure(command, **options):
        asked.append(command[1:])
        file.write_text(json.dumps({"examples": 100}))

    monkeypatch.setattr(runs.subprocess, "run", measure)
    for examples in (400, 100, 100):
        values = runs.measured(tmp_path, "evaluate", "robustness.json", examples)
        assert values == {"examples": examples}
    assert asked == [["-m", "clustr_tf.evaluate", f"--workdir={tmp_path}", "--examples=100"]]
