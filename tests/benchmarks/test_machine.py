"""What a benchmark says of its own run."""

import sys
import time

from benchmarks.machine import record_of_run, record_sentence, shown_command, shown_text, spoken_seconds


def test_a_command_is_shown_without_the_folders_of_this_machine() -> None:
    command = ["/home/me/.venv/bin/python3.11", "-m", "benchmarks.quality", "--data", "/home/me/heads/train"]
    assert shown_command(command) == "python -m benchmarks.quality --data heads/train"
    assert shown_command(["python", "--data", "outputs/a/b", "/x"]) == "python --data outputs/a/b x"


def test_a_text_keeps_what_is_no_whole_path() -> None:
    assert shown_text('no "depth_path" in /home/me/heads/test/transforms.json; give one') == (
        'no "depth_path" in test/transforms.json; give one'
    )
    assert shown_text("see docs/results.md, 3/4 of 1/2") == "see docs/results.md, 3/4 of 1/2"
    assert shown_text("https://example.org/a/b/c") == "https://example.org/a/b/c"


def test_the_record_names_command_machine_and_time() -> None:
    record = record_of_run(time.perf_counter() - 90.0)
    assert 90 <= record["seconds"] < 100
    assert record["machine"]["cores"] >= 1 and record["machine"]["processor"]
    assert str(sys.prefix) not in record["command"]
    sentence = record_sentence(record)
    assert record["machine"]["processor"] in sentence and "torch" in sentence and " 9" in sentence


def test_long_times_are_told_in_minutes() -> None:
    assert (spoken_seconds(119), spoken_seconds(600)) == ("119 s", "10 minutes")
