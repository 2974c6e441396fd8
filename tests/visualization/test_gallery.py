"""Contact sheets of a run."""

import numpy as np

from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.visualization.contact_sheets import turning_sheet, turntable


def test_a_turning_sheet_has_a_row_for_each_turn_and_one_of_normals(trained_config):
    run = load_run(trained_config)
    one = turning_sheet(run, run.codes[:1], size=16, yaws=[0.0])
    two = turning_sheet(run, run.codes[:2], size=16, yaws=[-20.0, 20.0])
    step = 16 + 4
    assert two.shape == (one.shape[0] + step, one.shape[1] + step, 3)


def test_a_turning_sheet_wraps_its_columns_and_names_them(trained_config):
    run = load_run(trained_config)
    done = []
    codes = run.codes[:3]
    sheet = turning_sheet(run, codes, 16, [0.0], columns=2, progress=lambda *counts: done.append(counts))
    two = turning_sheet(run, codes[:2], size=16, yaws=[0.0])
    last = turning_sheet(run, codes[2:], size=16, yaws=[0.0])
    assert sheet.shape == (2 * two.shape[0], two.shape[1], 3)
    labels = 132
    assert (sheet[: two.shape[0], labels:] == two[:, labels:]).all()
    assert (sheet[two.shape[0] :, labels : last.shape[1]] == last[:, labels:]).all()
    assert (sheet[two.shape[0] :, last.shape[1] :] == 255).all()
    assert done == [(1, 3), (2, 3), (3, 3)]


def test_a_turntable_sets_identities_in_a_grid(trained_config):
    run = load_run(trained_config)
    frames = list(turntable(run, run.codes[:3], size=16, frames=3))
    assert [frame.shape for frame in frames] == [(64, 64, 3)] * 3
    assert (frames[0][36:, 36:] == 255).all()
    (alone,) = turntable(run, run.codes[:1], size=16, frames=1)
    assert np.abs(frames[0][:28, :28].astype(int) - alone[:28, :28]).max() <= 1
