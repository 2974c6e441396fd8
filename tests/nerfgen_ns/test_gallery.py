"""Contact sheets of a run."""

from nerfgen_ns.gallery import turning_sheet
from nerfgen_ns.run import load_run


def test_a_turning_sheet_has_a_row_for_each_turn_and_one_of_normals(trained_config):
    run = load_run(trained_config)
    one = turning_sheet(run, [0], size=16, yaws=[0.0])
    two = turning_sheet(run, [0, 1], size=16, yaws=[-20.0, 20.0])
    step = 16 + 4
    assert two.shape == (one.shape[0] + step, one.shape[1] + step, 3)
