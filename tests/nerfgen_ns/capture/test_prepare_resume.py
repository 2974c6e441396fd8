"""Kills, shards and later photographs: whatever way a prepared folder came about, it is the same to the byte.

The landmark model, the matte model and the fit are stand-ins that take no time, the files are all real.
"""

import hashlib
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfgen_ns.capture import prepare as stages
from nerfgen_ns.capture import prepared_folder as folders
from nerfgen_ns.capture import progress
from nerfgen_ns.capture.cameras import Cameras
from nerfgen_ns.capture.collection_fit import CollectionFit
from nerfgen_ns.capture.prepare import PrepareConfig, prepare, prepare_shard
from nerfgen_ns.capture.prepare_plan import Plan
from nerfgen_ns.capture.prepared_folder import Frame, PreparedFolder
from nerfgen_ns.capture.shape_basis import CanonicalModel
from nerfgen_ns.capture.shards import Shard
from nerfgen_ns.errors import NerfgenError, UsageError

COUNT = 5
CHANGES = ("os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")


@dataclass(frozen=True)
class MadeUpCapture:
    """Finds the same in a photograph whenever asked; nothing in the fourth. Tells which it was asked for."""

    asked: list[str]

    def __call__(self, photograph, files):
        self.asked.append(photograph.name)
        if photograph.name == "3.png":
            return {"reason": "no face was found", "mend": "use another"}
        seed = int.from_bytes(hashlib.sha256(photograph.name.encode()).digest()[:4], "big")
        generator = np.random.default_rng(seed)
        Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(files.image)
        Image.fromarray(generator.integers(0, 256, (4, 4), dtype=np.uint8)).save(files.matte)
        return {
            "landmarks": generator.uniform(0, 32, (468, 3)),
            "principal_point": generator.uniform(15, 17, 2).tolist(),
            "photograph_to_crop": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
            "notes": ["a remark"] if seed % 2 else [],
        }


def made_up_fit(rows, centres, found, plan, config):
    """Cameras of some kind, that depend on nothing but each row; the one of 1.png explains nothing."""
    count = len(rows)
    cameras = Cameras(
        np.tile(np.eye(3), (count, 1, 1)),
        np.array(rows[:, 0, :3], dtype=float),
        np.full(count, plan.focal * config.size),
        centres,
    )
    bad = np.array([hashlib.sha256(row.tobytes()).hexdigest() == made_up_fit.bad for row in rows])
    model = CanonicalModel.rigid(np.ones((468, 3)))
    return CollectionFit(cameras, model, np.zeros((count, 0)), np.where(bad, 1e9, 0.01))


@pytest.fixture
def asked(monkeypatch):
    """Names of the photographs that were captured, and everything slow replaced."""
    asked: list[str] = []
    plan_of = Plan.of
    monkeypatch.setattr(Plan, "of", lambda config: replace(plan_of(config), capture=MadeUpCapture(asked)))
    monkeypatch.setattr(stages, "_fit", made_up_fit)
    generator = np.random.default_rng(int.from_bytes(hashlib.sha256(b"1.png").digest()[:4], "big"))
    generator.integers(0, 256, (4, 4, 3), dtype=np.uint8), generator.integers(0, 256, (4, 4), dtype=np.uint8)
    rows = np.ones((468, 4), np.float32)
    rows[:, :3] = generator.uniform(0, 32, (468, 3))
    made_up_fit.bad = hashlib.sha256(rows.tobytes()).hexdigest()
    return asked


@pytest.fixture
def call(tmp_path, asked) -> Callable[..., PrepareConfig]:
    """A function that makes the options of a call with its output in a folder of the given name."""
    data = tmp_path / "photographs"
    data.mkdir()
    for number in range(COUNT):
        (data / f"{number}.png").write_bytes(b"photograph %d" % number)

    def config(name: str, **changes) -> PrepareConfig:
        options = {"data": data, "output_dir": tmp_path / name, "size": 32, "workers": 1}
        return PrepareConfig(**options | changes)

    return config


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def killed_at(step: int, config: PrepareConfig) -> bool:
    """Prepare in a process that is killed before its `step`-th change of a file; whether it came to that."""
    process = os.fork()
    if process == 0:
        left = step

        def count(event: str, arguments: tuple) -> None:
            nonlocal left
            opened = arguments[2] if event == "open" and isinstance(arguments[2], int) else os.O_RDONLY
            if opened & (os.O_WRONLY | os.O_RDWR) or event in CHANGES:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(count)
            prepare(config)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_killed_before_any_change_of_a_file_and_resumed_gives_the_same_bytes(call, tmp_path):
    prepare(call("whole"))
    expected, step = contents(tmp_path / "whole"), 1
    assert len(json.loads(expected["transforms.json"])["frames"]) == COUNT - 2
    while killed_at(step, call(f"out {step}")):
        prepare(call(f"out {step}"))
        assert contents(tmp_path / f"out {step}") == expected, f"killed at change {step}"
        step += 1
    assert step > 50


def test_killed_again_and_again_it_still_gives_the_same_bytes(call, tmp_path):
    prepare(call("whole"))
    steps = random.Random(0)
    for trial in range(3):
        config = call(f"out {trial}")
        while killed_at(steps.randint(1, 50), config):
            pass
        assert contents(tmp_path / f"out {trial}") == contents(tmp_path / "whole")


def test_killed_while_photographs_are_added_it_gives_what_all_at_once_give(call, tmp_path):
    added = tmp_path / "photographs/00.png"
    step, killed = 1, True
    while killed:
        prepare(call(f"out {step}"))
        added.write_bytes(b"one more")
        os.utime(added, (1, 1))
        if step == 1:
            prepare(call("whole"))
            expected = contents(tmp_path / "whole")
        killed = killed_at(step, call(f"out {step}"))
        prepare(call(f"out {step}"))
        assert contents(tmp_path / f"out {step}") == expected, f"killed at change {step}"
        added.unlink()
        step += 5


def test_an_added_photograph_is_the_only_one_captured(call, asked, tmp_path):
    prepare(call("out"))
    assert sorted(asked) == sorted(set(asked)) and len(asked) == COUNT
    (tmp_path / "photographs/00.png").write_bytes(b"one more")
    asked.clear()
    assert prepare(call("out")).accepted == COUNT - 1
    assert asked == ["00.png"]


def test_another_focal_length_captures_nothing_again_and_another_size_everything(call, asked):
    prepare(call("out"))
    asked.clear()
    prepare(call("out", focal=3.0))
    assert not asked
    prepare(call("out", size=64))
    assert len(asked) == COUNT


def test_a_changed_photograph_and_one_whose_image_is_gone_are_captured_again(call, asked, tmp_path):
    prepare(call("out"))
    expected = contents(tmp_path / "out")
    (tmp_path / "photographs/4.png").write_bytes(b"another photograph")
    (tmp_path / "out/images/0001.png").unlink()
    asked.clear()
    prepare(call("out"))
    assert sorted(asked) == ["2.png", "4.png"]
    assert contents(tmp_path / "out")["images/0001.png"] == expected["images/0001.png"]


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_shards_in_any_order_give_what_one_run_gives_without_a_photograph_captured_twice(
    call, asked, tmp_path, order
):
    prepare(call("whole"))
    asked.clear()
    reports = [prepare_shard(call("out"), Shard(number, 3)) for number in order]
    assert sum(report.captured + report.rejected for report in reports) == COUNT
    assert [len(report.unfinished) for report in reports] == [2, 1, 0]
    assert sorted(asked) == [f"{number}.png" for number in range(COUNT)]
    assert not (tmp_path / "out/transforms.json").exists()
    asked.clear()
    prepare(call("out"))
    assert not asked
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_shard_that_never_ran_is_done_by_the_call_that_puts_them_together(call, asked, tmp_path):
    prepare(call("whole"))
    prepare_shard(call("out"), Shard(2, 2))
    asked.clear()
    prepare(call("out"))
    assert asked == ["0.png", "2.png", "4.png"]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    late = prepare_shard(call("out"), Shard(1, 2))
    assert late.unfinished == [] and contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (lambda call: prepare_shard(call("out", size=64), Shard(2, 2)), ["--shard 2/2", "--size 64"]),
        (lambda call: prepare_shard(call("out", class_name="cats"), Shard(2, 2)), ["cats", "faces"]),
        (lambda call: prepare_shard(call("out"), Shard(2, 3)), ["3 shards and 2"]),
        (lambda call: prepare(call("out", focal=3.0)), ["this call", "--focal 3.0", "--focal 2.1"]),
    ],
)
def test_calls_that_disagree_with_a_shard_are_refused_and_change_nothing(call, tmp_path, second, words):
    prepare_shard(call("out"), Shard(1, 2))
    before = contents(tmp_path / "out")
    with pytest.raises(UsageError) as error:
        second(call)
    assert all(word in str(error.value) for word in ["--shard 1/2", *words])
    after = contents(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    assert all(name.endswith("lock") for name in after.keys() - before.keys())


def test_photographs_that_differ_between_shards_are_refused(call, tmp_path):
    prepare_shard(call("out"), Shard(1, 2))
    (tmp_path / "photographs/0.png").write_bytes(b"another")
    with pytest.raises(UsageError, match=r"--shard 2/2 and --shard 1/2 disagree: photographs"):
        prepare_shard(call("out"), Shard(2, 2))


def test_shards_do_not_wait_for_each_other_but_the_whole_waits_for_shards(call, tmp_path):
    folder = PreparedFolder(tmp_path / "out")
    with folder.locked(Shard(1, 2)):
        assert prepare_shard(call("out"), Shard(2, 2)).unfinished == ["1/2"]
        with pytest.raises(NerfgenError, match="another process is preparing shard 1/2 of it"):
            prepare_shard(call("out"), Shard(1, 2))
        with pytest.raises(NerfgenError, match="another process is preparing it"):
            prepare(call("out"))
    with folder.locked(), pytest.raises(NerfgenError, match="another process is preparing"):
        prepare_shard(call("out"), Shard(1, 2))


def test_a_file_system_without_locks_is_no_obstacle(call, monkeypatch):
    def refuse(*arguments: object) -> None:
        raise OSError(folders.NO_LOCKS[0], "no locks")

    monkeypatch.setattr(folders.fcntl, "flock", refuse)
    assert prepare(call("out")).accepted == COUNT - 2


def test_a_file_system_without_hard_links_gives_the_same(call, tmp_path, monkeypatch):
    def refuse(*arguments: object) -> None:
        raise OSError("no links")

    prepare(call("whole"))
    monkeypatch.setattr(os, "link", refuse)
    prepare(call("out"))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize(("count", "names"), [(10_000, "0000.png"), (10_001, "00000.png")])
def test_names_of_images_have_digits_enough_to_sort(call, tmp_path, count, names):
    prepare(call("out"))
    folder = PreparedFolder(tmp_path / "other")
    ((key, capture),) = list(PreparedFolder(tmp_path / "out").captures().items())[:1]
    frame = Frame("0.png", 0, np.eye(4), 60.0, np.zeros(2), np.zeros((2, 2)), np.zeros(0), 0.1, 10.0)
    canonical = {"landmarks": [[0.0, 0.0, 0.0]] * 2}
    with folder.locked():
        folder.write("faces", 32, [(key, capture, frame)], count, [], canonical, "fingerprint")
    assert [path.name for path in (tmp_path / "other/images").iterdir()] == [names]


def test_a_log_tells_how_many_how_fast_and_how_long_to_go(call, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_PER_LINE", 0.0)
    with progress.progress_over("captures", total=10, done=6) as advance:
        advance()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "to go" in line]
    assert line.startswith("captures: 7 of 10, ") and "/s, 0:0" in line
