"""The machine that runs this: its parts, its load, and how freed memory is kept."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def describe_machine() -> dict[str, Any]:
    """Return the processor, its cores and memory, the accelerator, if any, and the versions of packages."""
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
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cuda_problem() -> str | None:
    """Say why torch cannot use a GPU that this machine has; None where it can, or where there is none.

    A driver that is too old, a build of torch without CUDA or without kernels for the GPU: in each of these
    cases torch would use the processor without a message, or fail at the first step.
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
    """Return the processor's name as the operating system gives it."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def machine_sentence(machine: dict[str, Any]) -> str:
    """Return what `describe_machine` found as one sentence for people."""
    where = machine["accelerator"] or f"{machine['cores']} cores of {machine['processor']}"
    bf16 = "with" if machine["fast_bf16"] else "without"
    return f"{where}, {bf16} bf16 in hardware, torch {machine['torch']}"


def _memory_gigabytes() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, OSError, ValueError):
        return None


STEPS = 20
"""Steps whose mean time is compared."""
TIMES_SLOWER = 4.0
"""A training that becomes slower by this factor shares its cores with another process."""
IN_A_ROW = 3
"""Means in a row that must be this slow: a short pause of the machine slows down only one."""
LOAD_PER_CORE = 1.25
"""Running processes for each core, above which the machine has more to do than it can."""


class PaceWatch:
    """Notices when a training becomes many times slower because another process uses its cores.

    Torch's threads spin while they wait for each other. Two processes that have a thread on every core make
    each other up to 20 times slower.

    Args:
        cores: how many this process may use.
        load: returns how many processes run or wait to run on this machine, None where it is not known.
    """

    def __init__(self, cores: int, load: Callable[[], float | None]) -> None:
        self._cores, self._load = cores, load
        self._times: list[float] = []
        self._best = float("inf")
        self._slow = 0
        self._has_said = False

    def after_step(self, seconds: float) -> str | None:
        """Note how long a step took; return a line for the user once, when the training has become slow."""
        if self._has_said:
            return None
        self._times.append(seconds)
        if len(self._times) < STEPS:
            return None
        mean = sum(self._times) / STEPS
        self._times.clear()
        self._best = min(self._best, mean)
        self._slow = self._slow + 1 if mean > TIMES_SLOWER * self._best else 0
        load = self._load() if self._slow >= IN_A_ROW else None
        if load is None or load <= LOAD_PER_CORE * self._cores:
            return None
        self._has_said = True
        return (
            f"A step takes {mean / self._best:.0f} times as long as before: this machine's load is "
            f"{load:.1f} on {self._cores} cores. End the other process, or start both with "
            f"OMP_NUM_THREADS={max(self._cores // 2, 1)}."
        )


def watch_this_machine() -> PaceWatch:
    """Return a watch on this process's cores and this machine's load."""
    return PaceWatch(count_cores(), machine_load)


def machine_load() -> float | None:
    """Return the mean number of processes that ran or waited to run in the last minute."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> bool:
    """Let glibc's allocator keep the memory of freed tensors for the next ones, and say whether it could.

    By default it returns blocks of a megabyte to the operating system as they are freed and asks for them
    again a moment later; each page is then cleared and mapped again. Steps of small networks allocate
    hundreds of such blocks and took 37 % longer that way (2 cores, 256 rays × 20 samples × 96 wide). The
    function does nothing with other C libraries.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1))


def has_fast_bf16(device: torch.device | str) -> bool:
    """Return whether bf16 matrix products run in hardware on the device.

    A processor without AMX or AVX-512 BF16 emulates them, tens of times slower than fp32.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # Older versions of torch may lack one of these.
        probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        return any(getattr(torch.cpu, probe, bool)() for probe in probes)
    return False
