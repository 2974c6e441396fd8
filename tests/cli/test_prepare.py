import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress

import pytest
import tyro

from nerfgen_ns.cli import prepare as command
from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing.prepare import ShardReport
from nerfgen_ns.preprocessing.report.preflight import Concern
from nerfgen_ns.preprocessing.report.prepare_report import PrepareReport, Rejection
from nerfgen_ns.preprocessing.store import DATABASE
from tests.helpers.real_face import astronaut


def test_every_option_is_explained():
    import io
    from contextlib import redirect_stdout

    text = io.StringIO()
    with redirect_stdout(text), pytest.raises(SystemExit):
        tyro.cli(command.Prepare, args=["--help"])
    for words in ("--data", "--output-dir", "--size", "--focal", "--canonical-landmarks", "--workers"):
        assert words in text.getvalue()
    assert "--shard" in text.getvalue()


def test_the_summary_names_figures_rejections_and_report(tmp_path, monkeypatch, capsys):
    rejected = [Rejection(f"[{index}].jpg", "no face was found", "use another") for index in range(9)]
    concern = Concern("few photographs", "12 photographs may be too few.", "Add [more].")
    notes = {f"{name}.jpg": [f"[{name}] is hard to see"] for name in "abcdefg"}
    report = PrepareReport(tmp_path / "report.json", 12, 7, rejected, 0.0123, notes, concerns=[concern])
    monkeypatch.setattr(command, "prepare", lambda config: report)
    tyro.cli(command.Prepare, args=["--data", str(tmp_path), "--output-dir", str(tmp_path / "out")]).run()
    printed = capsys.readouterr().out
    assert "12 photographs of 7 objects accepted, 9 rejected" in printed
    assert "warning: 12 photographs may be too few. Add [more]." in printed
    assert "[0].jpg, [1].jpg" in printed and "[4].jpg and 4 more: no face was found; use another" in printed
    assert "[8].jpg" not in printed and "1.23 %" in printed
    assert "note: a.jpg: [a] is hard to see" in printed and "g.jpg" not in printed
    assert "and 2 more notes" in printed
    assert "report.html" in printed


def test_a_shard_says_what_it_did_and_what_is_missing(tmp_path, monkeypatch, capsys):
    arguments = ["--data", str(tmp_path), "--output-dir", str(tmp_path / "out"), "--shard", "2/3"]
    for unfinished, words in ((["1/3", "3/3"], "not finished yet: 1/3, 3/3"), ([], "without --shard puts")):
        monkeypatch.setattr(
            command, "prepare_shard", lambda config, shard, left=unfinished: ShardReport(shard, 5, 1, left)
        )
        tyro.cli(command.Prepare, args=arguments).run()
        printed = capsys.readouterr().out
        assert "shard 2/3: 5 photographs captured, 1 rejected" in printed and words in printed


def test_a_shard_that_does_not_exist_is_refused_before_any_work(tmp_path):
    with pytest.raises(UsageError, match=r"--shard 4/3: .*1/3 .*3/3"):
        command.Prepare(data=tmp_path, output_dir=tmp_path.parent / "out", shard="4/3").run()
    assert not (tmp_path.parent / "out").exists()


def test_errors_reach_the_caller(tmp_path):
    with pytest.raises(UsageError, match=f"^{tmp_path}: "):
        command.Prepare(data=tmp_path, output_dir=tmp_path.parent / "out").run()


def test_an_interruption_is_one_line_and_status_130(tmp_path):
    from PIL import Image

    photographs, output = tmp_path / "photographs", tmp_path / "out"
    photographs.mkdir()
    Image.fromarray(astronaut()).save(photographs / "0.png")
    for copy in range(1, 400):
        shutil.copy(photographs / "0.png", photographs / f"{copy}.png")
    program = (
        "from pathlib import Path\nfrom nerfgen_ns.cli.prepare import Prepare\n"
        "if __name__ == '__main__':\n"
        f"    Prepare(data=Path({str(photographs)!r}), output_dir=Path({str(output)!r}), workers=2).run()\n"
    )
    script = tmp_path / "run.py"
    script.write_text(program)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    database = output / ".prepare/captures/whole" / DATABASE

    def count_records() -> int:
        with (
            suppress(sqlite3.OperationalError),
            sqlite3.connect(f"file:{database}?mode=ro", uri=True) as opened,
        ):
            return opened.execute("SELECT count(*) FROM captures").fetchone()[0]
        return 0

    for _ in range(1800):  # a busy machine takes its time to start
        if count_records() >= 3:
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 130
    assert len(errors.strip().splitlines()) == 1
    assert count_records() >= 3
    assert not (output / "transforms.json").exists()


def test_cameras_of_a_run_go_with_no_other_option(tmp_path, monkeypatch, capsys):
    import numpy as np

    from nerfgen_ns.inversion import refit as from_run

    refined = from_run.RefinedFolder(tmp_path / "out", True, np.array([0.5, 1.5, 2.5]), 2.0, 1.75)
    monkeypatch.setattr(from_run, "prepare_from_run", lambda load_config, output_dir, stages: refined)
    arguments = ["--output-dir", str(tmp_path / "out"), "--from-run", str(tmp_path / "config.yml")]
    tyro.cli(command.Prepare, args=arguments).run()
    printed = capsys.readouterr().out
    assert "3 cameras fitted again, turned by 1.50° in the median" in printed
    assert "2.00 pixels before, 1.75 after" in printed
    with pytest.raises(UsageError, match=r"--size: .*--from-run"):
        tyro.cli(command.Prepare, args=[*arguments, "--size", "128"]).run()
    with pytest.raises(UsageError, match=r"--data.*--from-run"):
        tyro.cli(command.Prepare, args=[*arguments, "--data", str(tmp_path)]).run()
    with pytest.raises(UsageError, match=r"--data.*--from-run"):
        tyro.cli(command.Prepare, args=arguments[:2]).run()
