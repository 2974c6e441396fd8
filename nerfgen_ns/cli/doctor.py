"""`nerfgen doctor`: which parts of the environment work, which do not, and how to fix them."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points, version
from pathlib import Path

FREE_GIGABYTES = 2.0


@dataclass
class Doctor:
    """Say which parts of the environment work, which do not, and how to fix them.

    The exit status is 0 where everything that training needs works, and 1 otherwise.
    """

    landmark_model_file: Path | None = None
    """A `face_landmarker.task` of MediaPipe's to try."""
    matte_model_file: Path | None = None
    """A `selfie_segmenter.tflite` of MediaPipe's to try."""

    def run(self) -> None:
        """Examine the environment and print a table."""
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        checks = CHECKS + mediapipe_checks(self.landmark_model_file, self.matte_model_file)
        findings = [examine(check) for check in checks]
        table = Table("", "what", "found", "fix")
        for finding in findings:
            mark = "[green]✓[/]" if finding.works else "[red]✗[/]" if finding.needed else "[yellow]–[/]"
            mend = "" if finding.works else finding.mend
            table.add_row(mark, finding.what, escape(finding.found), escape(mend))
        Console(highlight=False).print(table)
        if not all(finding.works for finding in findings if finding.needed):
            raise SystemExit(1)


@dataclass(frozen=True)
class Check:
    """Something that has to work."""

    what: str
    """Its name."""
    look: Callable[[], str]
    """Says what is there; raises an exception where it does not work."""
    mend: str
    """How to fix it."""
    needed: bool = True
    """Whether training needs it."""


@dataclass(frozen=True)
class Finding:
    """The outcome of a check."""

    what: str
    works: bool
    found: str
    mend: str
    needed: bool


def examine(check: Check) -> Finding:
    """Carry out a check."""
    try:
        found, works = check.look(), True
    # A broken installation raises errors of any class: ImportError, OSError or those of native code.
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        found, works = lines[0], False
    return Finding(check.what, works, found, check.mend, check.needed)


def _python() -> str:
    if not (3, 10) <= sys.version_info[:2] <= (3, 12):
        raise RuntimeError(f"Python {sys.version.split()[0]}")
    return f"{sys.version.split()[0]}, {os.cpu_count()} processors"


def _torch() -> str:
    import torch

    from nerfgen_ns.utils.machine import has_fast_bf16

    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    precision = "bf16" if has_fast_bf16(device) else "fp32 (bf16 would be emulated)"
    torch.ones(2, 2).matmul(torch.ones(2, 2))
    return f"{torch.__version__}, {name}, {precision}"


def _gpu() -> str:
    import torch

    from nerfgen_ns.utils.machine import cuda_problem

    if problem := cuda_problem():
        raise RuntimeError(problem)
    if not torch.cuda.is_available():
        return "none; training runs on the processor"
    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"


def _torchvision() -> str:
    import torch
    from torchvision.ops import nms

    nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    return version("torchvision")


def _numpy() -> str:
    if int(version("numpy").split(".")[0]) > 1:
        raise RuntimeError(f"numpy {version('numpy')}")
    return version("numpy")


def _protobuf() -> str:
    if tuple(int(part) for part in version("protobuf").split(".")[:2]) > (3, 20):
        raise RuntimeError(f"protobuf {version('protobuf')}")
    return version("protobuf")


def _opencv() -> str:
    import cv2

    return cv2.__version__


def _nerfstudio() -> str:
    from nerfstudio.configs.method_configs import all_methods

    ours = sorted(
        entry.name for entry in entry_points(group="nerfstudio.method_configs") if "nerfgen_ns" in entry.value
    )
    missing = [name for name in ours if name not in all_methods]
    if missing or not ours:
        raise RuntimeError(f"{version('nerfstudio')} does not know the methods of nerfgen")
    return f"{version('nerfstudio')} with {', '.join(ours)}"


def _bundled_models() -> str:
    import numpy as np

    from nerfgen_ns.preprocessing.landmarks.mediapipe_backends import (
        bundled_face_detector,
        bundled_face_mesh,
        bundled_selfie_segmentation,
    )

    blank = np.zeros((64, 64, 3), dtype=np.uint8)
    bundled_face_mesh(1)(blank)
    bundled_face_detector().detect(blank)
    bundled_selfie_segmentation()(blank)
    return f"mediapipe {version('mediapipe')} has its models in it"


def _model_files(landmarker: Path | None, segmenter: Path | None) -> Callable[[], str]:
    def look() -> str:
        import mediapipe
        import numpy as np
        from mediapipe.tasks.python import vision  # noqa: F401

        from nerfgen_ns.preprocessing.landmarks.mediapipe_backends import (
            face_detector,
            face_landmarker,
            image_segmenter,
        )

        blank = np.zeros((64, 64, 3), dtype=np.uint8)
        tried = []
        if landmarker:
            face_landmarker(landmarker, 1)(blank)
            face_detector(landmarker).detect(blank)
            tried.append(landmarker.name)
        if segmenter:
            image_segmenter(segmenter)(blank)
            tried.append(segmenter.name)
        if not tried and not hasattr(mediapipe, "solutions"):
            raise RuntimeError(f"mediapipe {version('mediapipe')} needs them, and none is given")
        there = " and ".join(tried) + " work" if tried else "can be used, none is given"
        return f"mediapipe {version('mediapipe')}, Tasks API: {there}"

    return look


def mediapipe_checks(landmark_model_file: Path | None, matte_model_file: Path | None) -> list[Check]:
    """Return checks of the two kinds of MediaPipe models for `nerfgen prepare`: bundled ones and model files.

    Model files that are not given are taken from the environment variables that `nerfgen prepare` reads.
    """
    from nerfgen_ns.preprocessing.landmarks.mediapipe_models import (
        FACE_LANDMARKER_VARIABLE,
        SELFIE_SEGMENTER_VARIABLE,
        model_file,
    )

    landmarker = model_file(landmark_model_file, FACE_LANDMARKER_VARIABLE)
    segmenter = model_file(matte_model_file, SELFIE_SEGMENTER_VARIABLE)
    return [
        Check("bundled models", _bundled_models, BUNDLED_MODELS, needed=False),
        Check("model files", _model_files(landmarker, segmenter), MODEL_FILES, needed=False),
    ]


def _nerfacc() -> str:
    import nerfacc
    import torch

    from nerfgen_ns.rendering.ray_renderers import check_volumetric

    if not torch.cuda.is_available():
        return f"{nerfacc.__version__}; its kernels are not used on a processor"
    check_volumetric(torch.device("cuda"))
    return f"{nerfacc.__version__}, its kernels run"


def _ffmpeg() -> str:
    path = shutil.which("ffmpeg")
    if path is None:
        import imageio_ffmpeg

        raise RuntimeError(f"not on the PATH; a packaged one is at {imageio_ffmpeg.get_ffmpeg_exe()}")
    return path


def _imports(module: str) -> Callable[[], str]:
    def look() -> str:
        import_module(module)
        return version(module)

    return look


def _cache() -> str:
    from nerfgen_ns.utils.files import cache_folder

    folder = cache_folder()
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    with tempfile.TemporaryFile(dir=nearest):
        pass
    return str(folder)


def _disk() -> str:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    if free < FREE_GIGABYTES:
        raise RuntimeError(f"{free:.1f} GB free in {Path.cwd()}")
    return f"{free:.0f} GB free"


TORCH = "pip install torch==2.11.0 torchvision==0.26.0"
GPU = (
    "update the driver, or install the torch that fits it (https://pytorch.org/get-started); "
    "CUDA_VISIBLE_DEVICES= trains on the processor"
)
OPENCV = (
    "pip uninstall -y opencv-python opencv-contrib-python opencv-python-headless && "
    "pip install opencv-contrib-python-headless==4.11.0.86"
)
BUNDLED_MODELS = "pip install 'mediapipe>=0.10.9,<0.10.30' (later versions carry none), or use model files"
MODEL_FILES = (
    "give --landmark-model-file face_landmarker.task and --matte-model-file selfie_segmenter.tflite, "
    "from https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker and …/image_segmenter"
)
FFMPEG = (
    'ln -s "$(python -c "import imageio_ffmpeg as f; print(f.get_ffmpeg_exe())")" '
    f"{Path(sys.executable).parent / 'ffmpeg'}"
)
OPEN3D = (
    "for ns-export: pip install open3d==0.19.0 (later versions need the system's libusb-1.0); "
    "libGL and libX11 are the system's: apt install libgl1 libx11-6"
)
CHECKS = [
    Check("python", _python, "use CPython 3.10, 3.11 or 3.12"),
    Check("torch", _torch, TORCH),
    Check("gpu", _gpu, GPU),
    Check("torchvision", _torchvision, f"install the one that belongs to your torch: {TORCH}"),
    Check("numpy", _numpy, "pip install 'numpy<2'"),
    Check("opencv", _opencv, OPENCV),
    Check("nerfstudio", _nerfstudio, "pip install 'nerfstudio>=1.1.5,<1.2', then nerfgen-ns beside it"),
    Check("disk", _disk, f"free {FREE_GIGABYTES:.0f} GB, or work on another disk"),
    Check("cache", _cache, "make it writable, or set XDG_CACHE_HOME to a folder that is", needed=False),
    Check("protobuf", _protobuf, "pip install 'protobuf<=3.20.3'", needed=False),
    Check("ffmpeg", _ffmpeg, f"for ns-render: {FFMPEG}", needed=False),
    Check(
        "nerfacc",
        _nerfacc,
        "for --pipeline.model.sampler.kind volumetric alone: see what was found",
        needed=False,
    ),
    Check("open3d", _imports("open3d"), OPEN3D, needed=False),
    Check("viser", _imports("viser"), "for the viewer: pip install viser==0.2.7", needed=False),
    Check("wandb", _imports("wandb"), "for --vis wandb: pip install wandb", needed=False),
    Check(
        "tensorboard", _imports("tensorboard"), "for --vis tensorboard: pip install tensorboard", needed=False
    ),
]
