"""nerfstudio's commands on one small run, as a user calls them: on a processor, without a network.

Each command starts a process of its own once. Its other calls are in this one, which has imported everything.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from PIL import Image

from nerfgen_ns.runs.launch import train_arguments
from nerfgen_ns.synthetic.dataset import write_dataset

IDENTITIES, SIZE = 4, 32
STEPS = 60
TIMEOUT = 240

TRAIN_OPTIONS = [
    "--pipeline.datamanager.dataparser.downscale-factor", "2",
    "--pipeline.model.sampler.grid-resolution", "16",
    "--logging.steps-per-log", "10",
    "--steps-per-eval-image", "10",
    "--steps-per-eval-batch", "10",
    "--optimizers.fields.scheduler.warmup-steps", "5",
    "--optimizers.latent-table.scheduler.warmup-steps", "5",
]  # fmt: skip


@dataclass(frozen=True)
class TrainedRun:
    """A finished training."""

    folder: Path
    data: Path
    base_dir: Path
    environment: dict[str, str]

    @property
    def config(self) -> Path:
        return self.base_dir / "config.yml"

    @property
    def checkpoints(self) -> Path:
        return self.base_dir / "nerfstudio_models"

    def call(self, *command: object, status: int = 0) -> str:
        """Run a command beside the interpreter; returns what it printed.

        Skips the test where the command cannot load a library of the system's.
        """
        done = subprocess.run(
            [Path(sys.executable).parent / str(command[0]), *map(str, command[1:])],
            cwd=self.folder, env=self.environment, timeout=TIMEOUT,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        missing = re.search(r"ImportError: (lib\S+): cannot open shared object file", done.stdout)
        if missing:
            pytest.skip(f"{command[0]} needs {missing[1]}, which this system lacks")
        assert done.returncode == status, done.stdout[-4000:]
        return done.stdout

    @contextmanager
    def started(self, *command: object, log: Path) -> Iterator[subprocess.Popen]:
        """Run a command in the background, and end it with the block."""
        with log.open("w") as output:
            process = subprocess.Popen(
                [Path(sys.executable).parent / str(command[0]), *map(str, command[1:])],
                cwd=self.folder, env=self.environment, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                yield process
            finally:
                process.kill()
                process.wait()

    def render(self, *arguments: object) -> None:
        """Call `ns-render` in this process."""
        from nerfstudio.scripts.render import entrypoint

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["ns-render", *map(str, arguments)])
            patch.setenv("PATH", self.environment["PATH"])
            entrypoint()

    def train(self, timestamp: str, *options: object) -> list[object]:
        """The command that trains into the folder `timestamp` beside this run's."""
        outputs = self.folder / "outputs"
        given = (*TRAIN_OPTIONS, *options)
        return ["ns-train", *train_arguments("nerfgen-tiny", self.data, outputs, "test", timestamp, *given)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A run of a few steps on a few heads, trained by `ns-train`."""
    import imageio_ffmpeg

    folder = tmp_path_factory.mktemp("end to end")
    data = write_dataset(folder / "heads", IDENTITIES, size=SIZE)
    programs = folder / "programs"
    programs.mkdir()
    (programs / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    nowhere = "http://127.0.0.1:9"
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "WANDB_MODE": "offline",
        "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere, "http_proxy": nowhere, "https_proxy": nowhere,
        "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost",
        "TORCH_HOME": str(folder / "no weights"),
    }  # fmt: skip
    base_dir = folder / "outputs/test/nerfgen-tiny/first"
    run = TrainedRun(folder, data, base_dir, environment)
    steps = ["--max-num-iterations", STEPS, "--steps-per-eval-image", STEPS // 2]
    viewer = ["--viewer.websocket-port", free_port(), "--viewer.quit-on-train-completion", True]
    run.call(*run.train("first", *steps, "--vis", "viewer+tensorboard", *viewer))
    return run


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(condition, process: subprocess.Popen, log: Path) -> None:
    """Wait until `condition()`; fails where the process ends before."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
        time.sleep(0.25)


def answers(port: int) -> bool:
    """Whether the viewer's page is served."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
            return page.status == 200 and b"<html" in page.read().lower()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def camera_path(folder: Path) -> Path:
    """A camera path as the viewer saves it, of one frame: the camera of the first photograph."""
    frame = json.loads((folder / "heads/transforms.json").read_text())["frames"][0]
    matrix = [value for row in frame["transform_matrix"] for value in row]
    field_of_view = float(2 * np.degrees(np.arctan(0.5 * frame["h"] / frame["fl_y"])))
    path = {
        "camera_type": "perspective", "render_height": 16, "render_width": 16, "seconds": 1,
        "camera_path": [{"camera_to_world": matrix, "fov": field_of_view, "aspect": 1.0}],
    }  # fmt: skip
    (folder / "path.json").write_text(json.dumps(path))
    return folder / "path.json"


def test_training_leaves_one_checkpoint_a_config_and_a_log(run):
    assert [path.name for path in run.checkpoints.iterdir()] == [f"step-{STEPS - 1:09d}.ckpt"]
    assert run.config.is_file() and list(run.base_dir.glob("events.out.tfevents*"))
    assert (run.base_dir / "dataparser_transforms.json").is_file()


def test_tensorboard_has_losses_psnr_and_panels(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(run.base_dir))
    log.Reload()
    tags = log.Tags()
    assert {
        "Train Loss", "Train Loss Dict/rgb_loss", "Train Loss Dict/mask_loss",
        "Train Loss Dict/hard_surface_loss", "Train Metrics Dict/psnr", "Eval Images Metrics/psnr",
    } <= set(tags["scalars"])  # fmt: skip
    panels = {f"Eval Images/{name}" for name in ("img", "foreground", "accumulation", "depth", "normals")}
    assert panels <= set(tags["images"])
    losses = [event.value for event in log.Scalars("Train Loss Dict/rgb_loss")]
    assert losses[-1] < losses[0]


def test_a_run_goes_on_with_the_viewer_and_wandb_and_keeps_what_it_trained_when_interrupted(run, tmp_path):
    port, log = free_port(), tmp_path / "log.txt"
    base_dir = run.base_dir.with_name("second")
    options = ["--load-dir", run.checkpoints, "--vis", "viewer+wandb", "--viewer.websocket-port", port]

    def panels() -> set[str]:
        images = base_dir.glob("wandb/offline-run-*/files/media/images/Eval Images/*")
        return {path.name.split("_")[0] for path in images}

    expected = {"img", "foreground", "accumulation", "depth", "normals"}
    with run.started(*run.train("second", *options), log=log) as process:
        wait_for(
            lambda: "Step (% Done)" in log.read_text() and panels() >= expected and answers(port),
            process, log,
        )  # fmt: skip
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 130, log.read_text()[-4000:]
    assert "Traceback" not in log.read_text()
    (checkpoint,) = (base_dir / "nerfstudio_models").iterdir()
    step = torch.load(checkpoint, weights_only=True)["step"]
    assert step == int(checkpoint.stem.removeprefix("step-")) and step > STEPS
    assert panels() == expected
    (values,) = base_dir.glob("wandb/offline-run-*/*.wandb")
    for name in (b"Train Loss Dict/rgb_loss", b"Train Metrics Dict/psnr", b"Eval Images Metrics/psnr"):
        assert name in values.read_bytes(), name


def test_ns_eval_judges_every_photograph(run, tmp_path):
    output_path, renders = tmp_path / "metrics.json", tmp_path / "renders"
    run.call(
        "ns-eval", "--load-config", run.config, "--output-path", output_path, "--render-output-path", renders
    )
    results = json.loads(output_path.read_text())["results"]
    assert 5 < results["psnr"] < 60 and 0 < results["ssim"] <= 1
    assert len(list(renders.glob("eval_img_*.png"))) == IDENTITIES
    assert not (run.folder / "no weights").exists()


def test_a_camera_path_shows_the_identity_asked_for(run, tmp_path):
    from nerfgen_ns.runs.loading import load_run

    names = ["rgb", "depth", "normals", "accumulation", "foreground", "background"]
    run.render(
        "camera-path", "--load-config", run.config, "--camera-idx", 2,
        "--camera-path-filename", camera_path(run.folder), "--output-path", tmp_path / "render",
        "--output-format", "images", "--image-format", "png", "--rendered-output-names", *names,
    )  # fmt: skip
    rendered = np.asarray(Image.open(tmp_path / "render/00000.png"))
    assert rendered.shape == (16, 16 * len(names), 3)
    rgb = rendered[:, :16] / 255.0

    trained = load_run(run.config)
    camera = trained.cameras[:1]
    camera.rescale_output_resolution(0.5)
    own, other = (trained.render(trained.code(identity), camera)["rgb"].cpu().numpy() for identity in (2, 0))
    assert np.abs(own - rgb).mean() < 0.01
    assert np.abs(other - rgb).mean() > 2 * np.abs(own - rgb).mean()


@pytest.mark.parametrize(
    ("way", "options"),
    [
        ("interpolate", ["--pose-source", "train", "--interpolation-steps", 2]),
        ("spiral", ["--seconds", 0.25]),
    ],
)
def test_videos_of_a_moving_camera(run, tmp_path, way, options):
    common = ["--load-config", run.config, "--camera-idx", 1, "--output-path", tmp_path / "video.mp4"]
    run.render(way, *common, *options)
    frames = imageio.mimread(tmp_path / "video.mp4")
    assert len(frames) == 6
    assert np.abs(frames[0].astype(float) - frames[-1]).max() > 0


def test_every_photograph_is_rendered_with_all_outputs(run, tmp_path):
    run.render(
        "dataset", "--load-config", run.config, "--split", "train", "--camera-idx", 1,
        "--image-format", "png", "--output-path", tmp_path,
    )  # fmt: skip
    outputs = {path.name: len(list(path.rglob("*.png"))) for path in (tmp_path / "train").iterdir()}
    names = ["rgb", "foreground", "background", "accumulation", "depth", "normals", "gt-rgb"]
    assert outputs == dict.fromkeys(names, IDENTITIES)


def test_an_identity_that_does_not_exist_ends_the_render_with_one_line(run, tmp_path):
    printed = run.call(
        "ns-render", "spiral", "--load-config", run.config, "--camera-idx", IDENTITIES,
        "--output-path", tmp_path / "video.mp4", status=2,
    )  # fmt: skip
    assert f"nerfgen: identity {IDENTITIES} " in printed
    assert "Traceback" not in printed and not (tmp_path / "video.mp4").exists()


def test_a_point_cloud_of_one_identity(run, tmp_path):
    import trimesh

    from nerfgen_ns.cli.pin import Pin

    Pin(load_config=run.config, identity=1).run()
    run.call(
        "ns-export", "pointcloud", "--load-config", run.base_dir / "config_identity_1.yml",
        "--output-dir", tmp_path, "--num-points", 300, "--num-rays-per-batch", 1024,
    )  # fmt: skip
    cloud = trimesh.load(tmp_path / "point_cloud.ply")
    assert len(cloud.vertices) > 200
    assert np.abs(cloud.vertices).max() <= 1.01


def test_the_viewer_of_a_finished_run_answers(run, tmp_path):
    port, log = free_port(), tmp_path / "log.txt"
    command = ["ns-viewer", "--load-config", run.config, "--viewer.websocket-port", port]
    with run.started(*command, log=log) as process:
        wait_for(lambda: answers(port), process, log)
    assert "Traceback" not in log.read_text()
