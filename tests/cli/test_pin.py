"""`nerfgen pin`: a configuration that shows one identity wherever none is named."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nerfgen_ns.cli.pin import Pin
from nerfgen_ns.runs.loading import load_run


@pytest.fixture
def copied_config(trained_config: Path, tmp_path: Path) -> Path:
    run_dir = tmp_path / Path(*trained_config.parent.parts[-3:])
    shutil.copytree(trained_config.parent, run_dir)
    return run_dir / "config.yml"


def test_the_pinned_identity_is_shown_where_none_is_named(
    copied_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = copied_config.read_bytes()
    Pin(load_config=copied_config, identity=2).run()
    pinned = copied_config.parent / "config_identity_2.yml"
    assert capsys.readouterr().out.strip() == str(pinned)
    assert copied_config.read_bytes() == before

    run = load_run(pinned)
    camera = run.cameras[:1]
    expected, other = run.render(run.code(2), camera)["rgb"], run.render(run.code(0), camera)["rgb"]
    camera.metadata = None
    shown = run.model.get_outputs_for_camera(camera)["rgb"]
    torch.testing.assert_close(shown, expected, rtol=0.0, atol=0.0)
    assert not torch.equal(shown, other)


@pytest.mark.parametrize("identity", ["3", "-1"])
def test_an_identity_out_of_range_has_status_2_and_writes_nothing(
    call_nerfgen: Callable[..., int],
    copied_config: Path,
    capsys: pytest.CaptureFixture[str],
    identity: str,
) -> None:
    assert call_nerfgen("pin", "--load-config", copied_config, "--identity", identity) == 2
    assert f"--identity {identity}" in capsys.readouterr().err
    assert not list(copied_config.parent.glob("config_*"))
