"""Kills and later photographs: whatever way a prepared folder came about, it is the same to the byte."""

import json
import os
import random
import signal
import sys

import numpy as np
import pytest

from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing import prepared_folder as folders
from nerfgen_ns.preprocessing.prepare import PrepareConfig, prepare
from nerfgen_ns.preprocessing.prepared_folder import PlacedPhotograph, PreparedFolder
from nerfgen_ns.utils import console as progress
from tests.helpers.prepared_contents import COUNT, contents

CHANGES = ("os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")


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


def test_a_file_where_the_folder_should_be_is_refused(call, tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(UsageError, match=r"/out: .*--output-dir"):
        prepare(call("out"))


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
    pose = np.eye(4)
    pose[2, 3] = 3.0
    zeros = np.zeros(2), np.zeros((2, 2)), np.zeros(0)
    fitted = PlacedPhotograph("0.png", 0, pose, 60.0, *zeros, 0.1, 10.0)
    canonical = {"landmarks": [[0.0, 0.0, 0.0]] * 2}
    with folder.locked():
        folder.write("faces", 32, [(key, capture, fitted)], count, [], canonical, "fingerprint")
    assert [path.name for path in (tmp_path / "other/images").iterdir()] == [names]


def test_a_log_tells_how_many_how_fast_and_how_long_to_go(call, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_PER_LINE", 0.0)
    with progress.progress_over("captures", total=10, done=6) as advance:
        advance()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "to go" in line]
    assert line.startswith("captures: 7 of 10, ") and "/s, 0:0" in line
