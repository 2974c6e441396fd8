"""What a figure was made on: noted beside it, so that it can be told from the machine."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nerfgen_ns.fields.precision import has_fast_bf16


def describe_machine() -> dict[str, Any]:
    """The processor, its cores and memory, the accelerator if there is one, and the versions that count."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {
        "processor": processor_name(),
        "cores": count_cores(),
        "memory_gigabytes": _memory_gigabytes(),
        "accelerator": torch.cuda.get_device_name() if device == "cuda" else None,
        "fast_bf16": has_fast_bf16(device),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "nerfstudio": version("nerfstudio"),
    }


def count_cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cuda_problem() -> str | None:
    """Say why torch cannot use a GPU that this machine has; None where it can, or where there is none.

    A driver that is too old, a build of torch without CUDA or without kernels for the GPU: in each of these
    cases torch would use the processor without a word, or fail at the first step.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return None
    if torch.cuda.is_available():
        try:
            ones = torch.ones(64, 64, device="cuda")
            return None if float((ones @ ones).sum()) == 64.0**3 else "its matrix products are wrong"
        except RuntimeError as error:
            return str(error).strip().splitlines()[0]
    if not any(Path("/proc/driver/nvidia/gpus").glob("*")) and not any(Path("/dev").glob("nvidia[0-9]*")):
        return None
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).strip().splitlines()[0]
    return "torch finds no GPU"


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor as the operating system names it."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def machine_sentence(machine: dict[str, Any]) -> str:
    """`describe_machine`, to be read."""
    where = machine["accelerator"] or f"{machine['cores']} cores of {machine['processor']}"
    bf16 = "with" if machine["fast_bf16"] else "without"
    return f"{where}, {bf16} bf16 in hardware, torch {machine['torch']}"


def _memory_gigabytes() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, OSError, ValueError):
        return None
