"""Worker processes: none of their work is lost, and none of them is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.preprocessing import workers as capture_pool
from nerfgen_ns.preprocessing.store import CaptureFiles
from nerfgen_ns.preprocessing.workers import capture_many

MODULE = '''
import os, time
from pathlib import Path

def capture(photograph, files):
    """Ends the process for a photograph called `deadly`, and once for one called `unlucky`."""
    if photograph.name == "deadly":
        os._exit(1)
    if photograph.name == "unlucky" and not files.image.exists():
        files.image.touch()
        os._exit(1)
    return {"name": photograph.name, "process": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS")}

def slow_capture(photograph, files):
    (files.image.parent / f"process-{os.getpid()}").touch()
    time.sleep(0.05)
    return {}
'''


@pytest.fixture
def captures(tmp_path, monkeypatch):
    """The module above, which worker processes can import."""
    (tmp_path / "made_up_captures.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(capture_pool, "TASKS_PER_WORKER", 2)
    sys.modules.pop("made_up_captures", None)
    import made_up_captures

    return made_up_captures


def tasks_for(names, folder):
    return [(f"key of {name}", Path(name), CaptureFiles(folder / name, folder / name)) for name in names]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_photograph_is_captured_once(captures, tmp_path, workers):
    before = dict(os.environ)
    names = [str(number) for number in range(21)]
    records = list(capture_many(tasks_for(names, tmp_path), captures.capture, workers))
    assert dict(os.environ) == before
    assert sorted((key, record["name"]) for key, record in records) == sorted(
        (f"key of {name}", name) for name in names
    )
    processes = {record["process"] for _, record in records}
    assert (processes == {os.getpid()}) if workers == 1 else (os.getpid() not in processes)
    assert workers == 1 or {record["threads"] for _, record in records} == {"1"}


def test_a_worker_that_dies_by_mischance_costs_nothing(captures, tmp_path):
    names = [str(number) for number in range(9)] + ["unlucky"] + [str(number) for number in range(9, 20)]
    records = list(capture_many(tasks_for(names, tmp_path), captures.capture, 2))
    assert sorted(record["name"] for _, record in records) == sorted(names)


def test_a_photograph_that_always_ends_the_process_is_named(captures, tmp_path):
    names = [*map(str, range(9)), "deadly", *map(str, range(9, 20))]
    with pytest.raises(NerfgenError, match=r"^deadly: "):
        list(capture_many(tasks_for(names, tmp_path), captures.capture, 2))


def test_workers_end_when_their_parent_is_killed(captures, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from nerfgen_ns.preprocessing.workers import capture_many\n"
        "from nerfgen_ns.preprocessing.store import CaptureFiles\n"
        "from made_up_captures import slow_capture\n"
        "if __name__ == '__main__':\n"
        f"    files = CaptureFiles(Path({str(tmp_path)!r}) / 'image', Path())\n"
        "    tasks = [(str(n), Path(str(n)), files) for n in range(100_000)]\n"
        "    list(capture_many(tasks, slow_capture, 2))\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)])
    workers: list[int] = []
    try:
        while len(workers) < 2 and parent.poll() is None:
            time.sleep(0.05)
            workers = [int(path.name.split("-")[1]) for path in tmp_path.glob("process-*")]
    finally:
        parent.kill()
        parent.wait()
    assert len(workers) == 2
    for _ in range(200):
        alive = [worker for worker in workers if Path(f"/proc/{worker}/cmdline").exists() and is_ours(worker)]
        if not alive:
            break
        time.sleep(0.05)
    for worker in alive:
        os.kill(worker, signal.SIGKILL)
    assert not alive


def is_ours(worker):
    """Whether the process is one of a pool and no zombie, which nobody in a container may come to collect."""
    return b"multiprocessing" in Path(f"/proc/{worker}/cmdline").read_bytes()
