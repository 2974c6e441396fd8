"""The command that compares the literal method with ours, and what it makes of what it measured."""

import json
import multiprocessing
import os
import threading
from multiprocessing.connection import Connection

import pytest

from benchmarks import products, throughput, training_process
from benchmarks.reference import ReferenceSettings
from benchmarks.results_file import write_section
from benchmarks.throughput import Throughput, compare, per_second, seconds_to_reach
from benchmarks.training_process import Job, TrainingProcess
from benchmarks.trainings import TrainingSettings
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.runs.loading import load_run

CURVE = [(0.0, 8.0), (2.0, 12.0), (4.0, 14.0), (8.0, 13.0)]


@pytest.mark.parametrize(
    ("target", "seconds"), [(7.0, 0.0), (10.0, 1.0), (12.0, 2.0), (13.5, 3.5), (14.5, None)]
)
def test_the_time_to_a_psnr_lies_between_two_judgments(target, seconds):
    assert seconds_to_reach(CURVE, target) == (None if seconds is None else pytest.approx(seconds))


def test_nothing_is_reached_where_nothing_was_judged():
    assert seconds_to_reach([], 10.0) is None
    assert compare({"ours": {"new_view_psnr": []}}, 10.0)["seconds"] == {"ours": None}


def test_the_target_is_what_the_reference_has_at_its_end_unless_one_is_given():
    trainings = {"reference": {"new_view_psnr": CURVE}, "ours": {"new_view_psnr": [(0.0, 9.0), (1.0, 17.0)]}}
    own_target = compare(trainings, None)
    assert own_target["psnr"] == 13.0
    assert own_target["seconds"] == {"reference": pytest.approx(3.0), "ours": pytest.approx(0.5)}
    assert own_target["ratio"] == pytest.approx(6.0)

    given = compare(trainings, 16.0)
    assert given["seconds"] == {"reference": None, "ours": pytest.approx(0.875)}
    assert given["ratio"] is None
    assert compare({"ours": trainings["ours"]}, None)["psnr"] is None


def test_rates_are_counts_by_the_second():
    assert per_second({"seconds": 4.0, "rays": 8, "steps": 2}) == {
        "seconds": 4.0, "rays_per_second": 2.0, "steps_per_second": 0.5
    }  # fmt: skip


def test_results_replace_their_own_section_and_leave_the_others(tmp_path):
    path = tmp_path / "RESULTS.md"
    write_section(path, "Throughput", "cpu", "old figures")
    assert "## Throughput on a GPU\n\nNot measured on a GPU yet." in path.read_text()
    write_section(path, "Scale", "cpu", "other figures")
    write_section(path, "Throughput", "cuda", "figures of a GPU")
    write_section(path, "Throughput", "cpu", "new figures")
    text = path.read_text()
    assert "old figures" not in text and text.count("# What the benchmarks measured") == 1
    for title, body in {
        "Throughput on a processor": "new figures",
        "Throughput on a GPU": "figures of a GPU",
        "Scale on a processor": "other figures",
        "Scale on a GPU": "Not measured on a GPU yet.",
    }.items():
        assert text.count(f"## {title}\n\n{body}\n") == 1


@pytest.mark.parametrize(
    ("options", "named"),
    [({"seconds": 1.0, "first_judged": 2.0}, "--first-judged"), ({"only": "widths"}, "--width")],
)
def test_a_call_that_makes_no_sense_ends_with_one_line(tmp_path, options, named):
    with pytest.raises(UsageError, match=named):
        Throughput(data=tmp_path, output_dir=tmp_path, **options).run()


class ThreadContext:
    """Stands in for multiprocessing: starting an interpreter takes longer than the rest of the test."""

    Pipe = staticmethod(multiprocessing.Pipe)

    @staticmethod
    def Process(target, args, daemon):
        job, far_end = args
        args = job, Connection(os.dup(far_end.fileno()))
        return threading.Thread(target=target, args=args, daemon=daemon)


def test_both_methods_train_take_turns_and_are_compared(make_prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: ThreadContext)
    monkeypatch.setattr(products, "SECONDS_EACH_SIZE", 0.01)
    monkeypatch.setattr(throughput, "FRAMES", 1)
    monkeypatch.setattr(throughput, "FRAME_SIZE", 16)
    data = make_prepared(identities=[0, 1, 2, 3])
    test = make_prepared(name="test", identities=[0, 1, 2, 2])
    out = tmp_path / "out"
    Throughput(
        data=data, test=test, output_dir=out, seconds=0.6, slice_seconds=0.2, first_judged=0.2, judged=2,
        views=3, results_path=out / "RESULTS.md",
        reference=ReferenceSettings(width=16, samples=8, background_width=16), reference_rays=64,
    ).run()  # fmt: skip

    figures = json.loads((out / "throughput.json").read_text())
    for training in figures["trainings"].values():
        assert training["seconds"] >= 0.6
        assert training["rays_per_second"] > training["steps_per_second"] > 0
        assert training["samples_per_second"] > 0 and training["share_of_peak"] > 0
        assert training["frames_per_second"] > 0 and training["peak_megabytes"]["resident"] > 100
        moments = [seconds for seconds, _ in training["new_view_psnr"]]
        assert len(moments) == 3 and moments[0] == 0 and moments[1] >= 0.2
    reference = figures["trainings"]["reference"]
    assert reference["samples_per_second"] == pytest.approx(8 * reference["rays_per_second"])
    assert figures["target"]["psnr"] == reference["new_view_psnr"][-1][1]
    assert (out / "throughput.png").stat().st_size > 1000
    assert "| rays/s |" in (out / "RESULTS.md").read_text()
    assert load_run(out / "throughput" / "nerfgen-tiny" / "run" / "config.yml").step > 0


def test_widths_are_measured_in_processes_of_their_own(make_prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(products, "SECONDS_EACH_SIZE", 0.01)
    Throughput(data=make_prepared(), output_dir=tmp_path, only="widths", width=(16,), width_seconds=0.2).run()
    figures = json.loads((tmp_path / "throughput.json").read_text())
    (training,) = figures["widths"]
    assert training["width"] == 16 and training["seconds"] >= 0.1
    assert training["rays_per_second"] == pytest.approx(768 * training["steps_per_second"])
    assert figures["trainings"] == {}
    assert not (tmp_path / "throughput").exists()


def test_a_training_that_fails_ends_the_command_with_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: ThreadContext)
    monkeypatch.setattr(training_process, "_serve", lambda job, connection: connection.close())
    with pytest.raises(NerfgenError, match="reference: "):
        TrainingProcess(Job("reference", TrainingSettings(tmp_path), tmp_path, is_reference=True))
