"""The panel in a real browser, on a run of a few steps."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nerfgen_ns.training.checkpoints import CODES_IN_CHECKPOINT, FOLDER, newest_checkpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def colorful_config(trained_config, tmp_path) -> Path:
    """The config.yml of the run with codes as far apart as those of a long training."""
    copied = shutil.copytree(trained_config.parent, tmp_path / "run")
    path = newest_checkpoint(copied / FOLDER)
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["pipeline"][CODES_IN_CHECKPOINT] *= 500.0
    torch.save(checkpoint, path)
    return copied / "config.yml"


@pytest.mark.browser
@pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed")
@pytest.mark.skipif(
    not (shutil.which("chromium") or shutil.which("google-chrome")), reason="there is no Chromium on the PATH"
)
def test_every_step_changes_the_picture_and_nothing_goes_wrong(colorful_config):
    command = [sys.executable, "-m", "benchmarks.viewer_check", "--load-config", str(colorful_config)]
    command += ["--max-res", "64"]
    check = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert check.returncode == 0, check.stdout + check.stderr
