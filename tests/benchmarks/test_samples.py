"""The benchmark of the samples a ray, on two views of the heads that ship."""

import json
from pathlib import Path

import pytest

from benchmarks.samples import Samples


def test_more_samples_are_nearer_to_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "samples.json"
    Samples(counts=(32, 16, 4), views=2, size=16, output_path=output).run()
    capsys.readouterr()
    many, some, few = json.loads(output.read_text())["rows"]
    assert many["psnr_to_first"] is None
    assert 40 < some["psnr_to_first"] > few["psnr_to_first"] + 5 > 20
    assert some["psnr_to_first_as_in_training"] > few["psnr_to_first_as_in_training"]
    assert some["psnr"] == pytest.approx(many["psnr"], abs=0.5)
