"""Shards divide the photographs among themselves, and insist on the same options."""

import json

import pytest

from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing import prepared_folder as shards
from nerfgen_ns.preprocessing.prepared_folder import (
    Shard,
    announce,
    check_agreement,
    note_finished,
    unfinished,
)

OPTIONS = {"--size": 128, "--class-name": "faces"}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_every_item_is_in_one_shard(count):
    parts = [Shard(number, count).part_of(range(17)) for number in range(1, count + 1)]
    assert sorted(item for part in parts for item in part) == list(range(17))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_shard_is_written_as_it_is_read():
    assert Shard.parse("3/4") == Shard(3, 4) and str(Shard(3, 4)) == "3/4"


@pytest.mark.parametrize(("text", "last"), [("0/4", 4), ("5/4", 4), ("1/0", 1)])
def test_a_number_out_of_range_is_refused_with_the_range(text, last):
    with pytest.raises(UsageError, match=f"--shard {text}: .*1/{last} .*{last}/{last}"):
        Shard.parse(text)


@pytest.mark.parametrize("text", ["", "3", "1/", "/2", "-1/2", "1/2/3", "1.0/2", "one/two"])
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match=f"--shard {text}: .*i/n"):
        Shard.parse(text)


@pytest.mark.parametrize(
    ("options", "shard", "words"),
    [
        (OPTIONS | {"--size": 256}, Shard(2, 4), ["--shard 2/4", "--shard 1/4", "--size 256", "--size 128"]),
        (OPTIONS | {"--new": 1}, Shard(2, 4), ["--shard 2/4", "--shard 1/4", "--new 1", "--new None"]),
        (OPTIONS, Shard(2, 5), ["--shard 2/5", "--shard 1/4"]),
        (OPTIONS | {"--size": 256}, None, ["--shard 1/4", "--size 256", "--size 128"]),
    ],
)
def test_shards_that_disagree_are_both_named_and_nothing_is_written(tmp_path, options, shard, words):
    announce(tmp_path, OPTIONS, Shard(1, 4))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    with pytest.raises(UsageError) as error:
        announce(tmp_path, options, shard) if shard else check_agreement(tmp_path, options, None)
    assert all(word in str(error.value) for word in [*words, "--output-dir"])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == before


def test_of_two_that_start_at_once_and_disagree_one_takes_its_note_back(tmp_path, monkeypatch):
    write, other = shards.write_json, {"shard": "2/2", "options": {"--size": 1}, "finished": False}

    def at_once(path, value):
        write(tmp_path / "2-of-2/shard.json", other)
        write(path, value)

    monkeypatch.setattr(shards, "write_json", at_once)
    with pytest.raises(UsageError, match=r"--shard 1/2 .*--shard 2/2"):
        announce(tmp_path, OPTIONS, Shard(1, 2))
    assert [path.parent.name for path in tmp_path.rglob("shard.json")] == ["2-of-2"]


def test_a_shard_called_again_may_change_its_mind_while_it_is_alone(tmp_path):
    announce(tmp_path, OPTIONS, Shard(1, 2))
    announce(tmp_path, OPTIONS | {"--size": 256}, Shard(1, 2))
    assert json.loads((tmp_path / "1-of-2/shard.json").read_text())["options"]["--size"] == 256


def test_the_unfinished_shards_are_known(tmp_path):
    for number in (1, 3):
        announce(tmp_path, OPTIONS, Shard(number, 3))
    note_finished(tmp_path, OPTIONS, Shard(3, 3))
    assert unfinished(tmp_path, 3) == ["1/3", "2/3"]
