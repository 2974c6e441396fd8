"""The two trainings that are compared, and the clock that stops them."""

import math

import pytest
import torch

from benchmarks import pace as pace_module
from benchmarks.pace import Pace
from benchmarks.reference import ReferenceSettings
from benchmarks.training_process import psnr_on
from benchmarks.trainings import OwnTraining, ReferenceTraining, Training, TrainingSettings
from nerfgen_ns.evaluation.comparisons import read_views

CPU = torch.device("cpu")


class FakeClock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr(pace_module, "time", clock)
    return clock


def test_the_clock_stands_still_while_the_training_is_looked_at(clock):
    stops = []

    def look() -> float | None:
        clock.now += 50.0
        stops.append(pace.elapsed)
        return [2.0, 4.0, None][len(stops) - 1]

    pace = Pace(CPU, seconds=4.0, pause=look)
    goes_on = pace.start()
    while goes_on:
        clock.now += 1.5
        goes_on = pace.after_step(rays=10, samples=30)
    assert stops == [0.0, 3.0, 4.5]
    assert (pace.steps, pace.rays, pace.samples) == (3, 30, 90)
    assert pace.spent == 1.0


def test_a_training_that_is_never_to_begin_takes_no_step():
    assert Pace(CPU, seconds=4.0, pause=lambda: None).start() is False


def make_training(kind: type[Training], data, tmp_path) -> Training:
    settings = TrainingSettings(
        data, seconds=60.0, rays=32, reference_rays=24,
        reference=ReferenceSettings(width=16, samples=8, background_width=16),
    )  # fmt: skip
    if kind is ReferenceTraining:
        return ReferenceTraining(settings)
    return OwnTraining(settings, tmp_path / "out", width=16)


@pytest.mark.parametrize(("kind", "rays"), [(ReferenceTraining, 24), (OwnTraining, 32)])
def test_a_training_counts_its_steps_changes_what_it_renders_and_ends_when_told(
    kind, rays, make_prepared, tmp_path
):
    training = make_training(kind, make_prepared(identities=[0, 1, 2, 3]), tmp_path)
    camera = training.cameras[1:2]
    before = training.render(1, camera)
    assert before.shape == (12, 12, 3) and not before.requires_grad

    answers = iter([1e-9, 1e-9, None])  # Each stop comes after one step.
    pace = Pace(CPU, seconds=60.0, pause=lambda: next(answers))
    assert pace.start()
    training.train(pace)

    assert (pace.steps, pace.rays) == (2, 2 * rays)
    assert pace.samples >= pace.rays and pace.samples % 8 == 0
    assert training.operations.of(pace.samples, pace.rays) > 0
    assert not torch.equal(training.render(1, camera), before)
    assert not torch.equal(training.render(2, camera), training.render(1, camera))


def test_the_reference_draws_its_pixels_evenly(make_prepared, tmp_path):
    training = make_training(ReferenceTraining, make_prepared(), tmp_path)
    assert isinstance(training, ReferenceTraining)
    assert training.manager.config.pixel_sampler.background_redraw_fraction == 0.0


def test_new_views_are_judged_inside_their_mattes(make_prepared):
    def render(view):
        # Wrong by a fifth inside the matte, which is 14 dB, and by anything outside.
        wrong = torch.where(view.image > 0.5, view.image - 0.2, view.image + 0.2)
        return torch.where(view.matte[..., None] > 0.5, wrong, torch.zeros(()))

    assert psnr_on(read_views(make_prepared()), render) == pytest.approx(-20 * math.log10(0.2), abs=1e-3)
