"""Shards: whichever way the work is spread, the prepared folder is the same to the byte."""

import pytest

from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.preprocessing.prepare import prepare, prepare_shard
from nerfgen_ns.preprocessing.prepared_folder import PreparedFolder, Shard
from tests.helpers.prepared_contents import COUNT, contents


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
        (lambda call: prepare_shard(call("out"), Shard(2, 3)), ["--shard 2/3"]),
        (lambda call: prepare(call("out", focal=3.0)), ["--focal 3.0", "--focal 2.1"]),
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
    with pytest.raises(UsageError, match=r"--shard 2/2 .*--shard 1/2 .*photographs"):
        prepare_shard(call("out"), Shard(2, 2))


def test_shards_do_not_wait_for_each_other_but_the_whole_waits_for_shards(call, tmp_path):
    folder = PreparedFolder(tmp_path / "out")
    with folder.locked(Shard(1, 2)):
        assert prepare_shard(call("out"), Shard(2, 2)).unfinished == ["1/2"]
        with pytest.raises(NerfgenError, match=r"/out: .*process.* 1/2"):
            prepare_shard(call("out"), Shard(1, 2))
        with pytest.raises(NerfgenError, match=r"/out: .*process"):
            prepare(call("out"))
    with folder.locked(), pytest.raises(NerfgenError, match=r"/out: .*process"):
        prepare_shard(call("out"), Shard(1, 2))
