"""All checks that a GPU has to pass, in a few minutes and without a network.

python -m benchmarks.gpu_check --data PREPARED --output-dir OUT

`benchmarks/gpu_check.sh` installs what is missing from a folder of wheels and calls this. Without a GPU it
runs on the processor: that tests the script, and says nothing about a GPU. PREPARED is a folder of 24
photographs of 256×256 pixels, or of any others; with landmarks more is checked.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from benchmarks.products import measured_peaks, own_operations, synchronize
from benchmarks.results_file import write_section
from benchmarks.trainings import take_step
from nerfgen_ns import configs
from nerfgen_ns.cameras.trajectories import turned_cameras, usual_angles
from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.model.class_view import ClassView
from nerfgen_ns.rendering.ray_renderers import CUDA_13_HEADER
from nerfgen_ns.runs.launch import train_arguments
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.utils.files import write_json
from nerfgen_ns.utils.machine import count_cores, cuda_problem, describe_machine, machine_sentence

WARM_UP = 10
FRAMES = 20
PICTURE_SIZE = 256
LARGEST_MEMORY = {"nerfgen": 8e9, "nerfgen-hq": 20e9}
"""Bytes that steps and pictures of a method may take: its card has a few gigabytes more."""
CORES_OF_COMMAND = 4
"""Cores for each of the commands that run side by side."""


@dataclass
class GpuCheck:
    """Run tests, steps of every method and every command on a GPU, and write down the results."""

    data: Path
    """A prepared folder, of photographs at their own size."""
    output_dir: Path
    """Folder for the runs, and for gpu_check.json and gpu_check.md."""
    steps: int = 60
    """Steps of each method that are timed."""
    training_steps: int = 1500
    """Steps of the run that the commands use."""
    methods: tuple[str, ...] = ("nerfgen-tiny", "nerfgen-small", "nerfgen", "nerfgen-hq")
    """Methods whose steps are timed; the last but one also with every option that changes a step."""
    tests: bool = True
    """Whether to run the tests that need a GPU."""
    kernels: bool = False
    """Whether to compile and check nerfacc's kernels, which the default sampler does not use: 2 minutes."""
    skip: tuple[str, ...] = ()
    """Names of checks to leave out; each check prints its name."""
    results: Path | None = None
    """A Markdown file of results that gets the section; RESULTS.md of this folder is one."""
    checks: dict[str, Any] = field(default_factory=dict, init=False)

    def run(self) -> None:
        """Carry out all checks; each is written down as soon as it is done.

        Raises:
            NerfgenError: a check failed; the others ran all the same.
        """
        begin = time.perf_counter()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._lock = threading.Lock()
        self.output_dir.mkdir(parents=True, exist_ok=True)
        self._check("machine", lambda: {**describe_machine(), "problem": cuda_problem(), "nvcc": _nvcc()})
        self._check("peaks, operations a second", lambda: measured_peaks(self.device))
        if self.tests:
            self._tests("tests", "not volumetric")
        for method in self.methods:
            self._check(f"steps of {method}", lambda method=method: self._steps_of(method))
        self._check(
            "steps with every option", lambda: self._steps_of(self.methods[-2:][0], every_option=True)
        )
        self._commands()
        if self.kernels and self.device.type == "cuda":
            self._kernels()
        self._check("all", lambda: {"minutes": round((time.perf_counter() - begin) / 60, 1)})
        failed = [name for name, check in self.checks.items() if not check["passed"]]
        body = self._markdown()
        (self.output_dir / "gpu_check.md").write_text(body, encoding="utf-8")
        if self.results is not None:
            write_section(self.results, "GPU check", "cuda" if self.device.type == "cuda" else "cpu", body)
        print(body)
        if failed:
            raise NerfgenError(f"failed: {', '.join(failed)}; see {self.output_dir / 'gpu_check.json'}")

    def _check(self, name: str, look: Callable[[], Any]) -> None:
        if name in self.skip:
            return
        begin = time.perf_counter()
        try:
            found, passed = look(), True
        # If one check fails, the others still run.
        except Exception as error:
            found, passed = {"error": str(error)[-2000:], "where": traceback.format_exc()[-3000:]}, False
        seconds = round(time.perf_counter() - begin, 1)
        with self._lock:
            self.checks[name] = {"passed": passed, "seconds": seconds, "found": found}
            print(f"{'ok' if passed else 'FAILED':7} {seconds:6.1f} s  {name}", flush=True)
            if not passed:
                print(f"        {found['error'][-600:]}", flush=True)
            write_json(self.output_dir / "gpu_check.json", self.checks)

    def _command(
        self, name: str, *command: object, status: int = 0, says: str = "", **environment: str
    ) -> None:
        def look() -> dict[str, Any]:
            done = subprocess.run(
                [str(part) for part in command],
                env={**os.environ, **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=240,
            )
            if done.returncode != status or "Traceback" in done.stdout or says not in done.stdout:
                raise NerfgenError(f"exit status {done.returncode}: {done.stdout[-2500:]}")
            return {"status": done.returncode, "end": done.stdout.strip().splitlines()[-1:]}

        self._check(name, look)

    def _tests(self, name: str, which: str, **environment: str) -> None:
        """Run the tests that need a GPU, and those of devices; `which` is pytest's expression."""
        tests = ["tests/training/test_gpu.py", "tests/model/test_devices.py"]
        options = ["-q", "-rs", "-k", which]
        self._command(name, sys.executable, "-m", "pytest", *options, *tests, **environment)

    def _steps_of(self, name: str, every_option: bool = False) -> dict[str, Any]:
        """Measure time, memory, rate of operations and synchronizations of a method's training steps.

        Then render pictures as the viewer does, in the memory beside what the training keeps.
        """
        trainer = self._trainer(name, every_option)
        numbers = itertools.count()

        def step() -> None:
            take_step(trainer, next(numbers))

        for _ in range(WARM_UP):
            step()
        model_config = trainer.pipeline.model.config
        rays = trainer.config.pipeline.datamanager.train_num_rays_per_batch
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        synchronize(self.device)
        begin = time.perf_counter()
        for _ in range(self.steps):
            step()
        synchronize(self.device)
        seconds = (time.perf_counter() - begin) / self.steps
        operations = own_operations(model_config).of(rays * model_config.sampler.num_samples, rays)
        synchronizations = _synchronizations(step) if self.device.type == "cuda" else None
        view = ClassView(trainer.pipeline.model.eval(), trainer.pipeline.datamanager.train_dataset.cameras)
        frames = frames_a_second(view, view.code(0), FRAMES if self.device.type == "cuda" else 1)
        memory = torch.cuda.max_memory_allocated() if self.device.type == "cuda" else None
        if memory is not None and memory > LARGEST_MEMORY.get(name, memory):
            raise NerfgenError(
                f"it took {memory / 1e9:.1f} GB, more than {LARGEST_MEMORY[name] / 1e9:.0f} GB"
            )
        return {
            "milliseconds_a_step": round(1e3 * seconds, 2),
            "rays_a_second": round(rays / seconds),
            "teraflops": round(operations / seconds / 1e12, 2),
            "frames_a_second": round(frames, 2),
            "device_gigabytes": None if memory is None else round(memory / 1e9, 2),
            "bf16": trainer.pipeline.model.foreground_field.use_bf16,
            "synchronizations": synchronizations,
        }

    def _trainer(self, name: str, every_option: bool) -> Any:
        config: Any = copy.deepcopy(getattr(configs, name.replace("-", "_")).config)
        config.data = config.pipeline.datamanager.data = self.data
        config.output_dir, config.timestamp, config.experiment_name = self.output_dir, "steps", "steps"
        config.machine.device_type, config.vis = self.device.type, "tensorboard"
        config.logging.local_writer.enable = False
        if every_option:
            model, sampler = config.pipeline.model, config.pipeline.datamanager.pixel_sampler
            sampler.landmark_fraction, sampler.background_redraw_fraction = 0.1, 0.5
            model.sampler.depth_memory, model.camera_optimizer.mode = True, "SO3xR3"
            config.optimizers["camera_opt"]["scheduler"].start = 0.0
            model.symmetry.mirrored_share = 0.5
        trainer = config.setup(local_rank=0, world_size=1)
        trainer.setup()
        trainer.pipeline.train()
        return trainer

    def _commands(self) -> None:
        """Run nerfstudio's commands and ours, on a run of photographs at their own size."""
        runs, out = self.output_dir / "runs", self.output_dir / "made"
        shutil.rmtree(runs, ignore_errors=True)
        shutil.rmtree(out, ignore_errors=True)
        quiet = ["--vis", "tensorboard"]

        def train(name: str, method: str, steps: int, *options: object) -> None:
            given = ("--max-num-iterations", steps, *options)
            arguments = train_arguments(method, self.data, runs, "check", name.replace(" ", "-"), *given)
            self._command(f"ns-train, {name}", "ns-train", *arguments)

        def steps_of(name: str) -> Path:
            return runs / "check/nerfgen-tiny" / name.replace(" ", "-") / "nerfstudio_models"

        # With the viewer. The other commands take this run.
        train(
            "first", "nerfgen-tiny", self.training_steps, "--viewer.quit-on-train-completion", True,
            "--steps-per-eval-image", max(self.training_steps // 3, 1),
        )  # fmt: skip
        self._check("one model on both devices", self._on_both_devices)
        loaded = ["--load-config", runs / "check/nerfgen-tiny/first/config.yml"]
        images = ["--output-format", "images", "--image-format", "png", "--output-path"]
        few = max(self.training_steps // 25, 3)

        def between_devices() -> None:
            cpu = ("--machine.device-type", "cpu")
            train("cpu", "nerfgen-tiny", few // 3, *quiet, *cpu)
            train("from cpu", "nerfgen-tiny", few // 3, *quiet, "--load-dir", steps_of("cpu"))
            train("back to cpu", "nerfgen-tiny", few // 3, *quiet, *cpu, "--load-dir", steps_of("from cpu"))

        def mixed() -> None:
            scaled = ("--mixed-precision", True, "--use-grad-scaler", True)
            train("mixed precision", "nerfgen-tiny", few, *quiet, *scaled)

        def one_rank() -> None:
            self._command(
                "one rank", "torchrun", "--standalone", "--nproc-per-node", 1, "-m",
                "nerfgen_ns.training.distributed", "nerfgen-tiny", "--data", self.data, "--output-dir", runs,
                "--max-num-iterations", few, *quiet, "--machine.device-type", self.device.type,
            )  # fmt: skip

        def ours(name: str, *options: object) -> Callable[[], None]:
            return lambda: self._command(name, "nerfgen", name, *loaded, *options)

        def renders(kind: str, *options: object) -> Callable[[], None]:
            return lambda: self._command(f"ns-render {kind}", "ns-render", kind, *loaded, *options)

        # The longest first.
        together = [
            between_devices,
            lambda: train("large", "nerfgen", few, *quiet, "--steps-per-eval-image", max(few - 10, 1)),
            lambda: train("resumed", "nerfgen-tiny", few, *quiet, "--load-dir", steps_of("first")),
            mixed,
            one_rank,
            ours("fit", "--images", self.data, "--output-dir", out / "fit"),
            ours("evaluate", "--output-path", out / "evaluate.json"),
            ours("morph", "--identities", 0, 1, "--output-path", out / "morph.mp4"),
            ours("sample", "--output-dir", out / "sample"),
            ours("mesh", "--identity", 1, "--output-path", out / "mesh.ply"),
            lambda: self._command("ns-eval", "ns-eval", *loaded, "--output-path", out / "metrics.json"),
            renders("spiral", "--camera-idx", 1, "--seconds", 0.5, *images, out / "spiral"),
            renders("dataset", "--split", "train", "--image-format", "png", "--output-path", out / "dataset"),
        ]
        # Nothing here is timed, and most of a command's time is its start.
        side_by_side = max(count_cores() // CORES_OF_COMMAND, 1) if self.device.type == "cuda" else 1
        with ThreadPoolExecutor(side_by_side) as pool:
            for done in [pool.submit(command) for command in together]:
                done.result()

    def _kernels(self) -> None:
        """Check nerfacc's kernels: refused where they cannot be compiled, and compiled where they can."""
        runs = self.output_dir / "runs"
        given = (
            "--vis", "tensorboard", "--max-num-iterations", 100,
            "--pipeline.model.sampler.kind", "volumetric",
        )  # fmt: skip
        train = ["ns-train", *train_arguments("nerfgen-tiny", self.data, runs, "kernels", "run", *given)]
        folders = os.environ["PATH"].split(os.pathsep)
        elsewhere = {
            "PATH": os.pathsep.join(folder for folder in folders if not (Path(folder) / "nvcc").exists()),
            "TORCH_EXTENSIONS_DIR": str(self.output_dir.resolve() / "no kernels"),
        }
        self._command("volumetric without nvcc", *train, status=2, says="nvcc", **elsewhere)
        flags = f"-include {CUDA_13_HEADER}"
        self._command("volumetric", *train, NVCC_PREPEND_FLAGS=flags)
        if self.tests:
            self._tests("tests of nerfacc's kernels", "volumetric and not refused", NVCC_PREPEND_FLAGS=flags)

    def _on_both_devices(self) -> dict[str, Any]:
        """Compare renders of one checkpoint on the GPU, in bf16 and in fp32, with those on the processor."""
        run = load_run(self.output_dir / "runs/check/nerfgen-tiny/first/config.yml")
        model, field = run.model, run.model.foreground_field
        angle = np.array([[20.0, usual_angles(run.cameras)[1]]])
        camera = turned_cameras(run.cameras, angle, PICTURE_SIZE)
        code = run.codes[1:2]
        pictures = {"as it is": run.render(code, camera)["rgb"].cpu()}
        field.use_bf16 = False
        if model.background_field is not None:
            model.background_field.use_bf16 = False
        pictures["fp32"] = run.render(code, camera)["rgb"].cpu()
        model.to("cpu")
        pictures["processor"] = run.render(code.cpu(), camera)["rgb"].cpu()
        model.to(self.device)
        pictures["and back"] = run.render(code, camera)["rgb"].cpu()
        exact = pictures["processor"]
        differences = {
            name: {
                "mean": float((picture - exact).abs().mean()),
                "largest": float((picture - exact).abs().max()),
            }
            for name, picture in pictures.items()
        }
        if differences["fp32"]["mean"] > 2e-3 or differences["as it is"]["mean"] > 2e-2:
            raise NerfgenError(f"the pictures differ: {json.dumps(differences)}")
        return {"differences_to_the_processor": differences}

    def _markdown(self) -> str:
        lines = [f"`python -m benchmarks.gpu_check` on {machine_sentence(describe_machine())}.", ""]
        lines += ["| check | result | seconds | found |", "| --- | --- | --- | --- |"]
        for name, check in self.checks.items():
            found = check["found"]
            if "error" in found:
                found = found["error"].strip().splitlines()[-1][:150]
            elif name != "machine":
                found = json.dumps(found).strip("{}")
            else:
                found = f"torch {found['torch']}, nerfstudio {found['nerfstudio']}, {found['nvcc']}"
            found = str(found).replace("|", "\\|")
            lines.append(
                f"| {name} | {'ok' if check['passed'] else 'failed'} | {check['seconds']} | {found} |"
            )
        return "\n".join(lines)


def frames_a_second(view: ClassView, code: Float[Tensor, "1 latent"], frames: int) -> float:
    """Render one identity, slightly turned, and return how many pictures were finished in a second."""
    angle = np.array([[20.0, usual_angles(view.cameras)[1]]])
    camera = turned_cameras(view.cameras, angle, PICTURE_SIZE)
    view.render(code, camera)
    synchronize(view.model.device)
    begin = time.perf_counter()
    for _ in range(frames):
        view.render(code, camera)
    synchronize(view.model.device)
    return frames / (time.perf_counter() - begin)


def _synchronizations(step: Callable[[], None]) -> list[str]:
    """Find where a few training steps wait for the GPU: file and line of each call."""
    places: set[str] = set()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(4):
                step()
        for warning in caught:
            if "synchronizing" in str(warning.message):
                file = Path(warning.filename)
                places.add(f"{'/'.join(file.parts[-2:])}:{warning.lineno}")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sorted(places)


def _nvcc() -> str:
    path = shutil.which("nvcc")
    if path is None:
        return "no nvcc"
    lines = subprocess.run([path, "--version"], capture_output=True, text=True).stdout.splitlines()
    return next((line.strip() for line in lines if "release" in line), "nvcc")


if __name__ == "__main__":
    check = tyro.cli(GpuCheck)
    try:
        check.run()
    except NerfgenError as error:
        print(f"gpu_check: {error}", file=sys.stderr)
        raise SystemExit(error.exit_status) from error
