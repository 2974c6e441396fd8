"""Shards: the photographs of one prepared folder divided among machines that share a file system.

Each shard keeps its captures in a store of its own and notes beside them the options it was called with. What
the store holds of a photograph does not depend on the shard, so that putting them together needs no order.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nerfgen_ns.errors import UsageError
from nerfgen_ns.files import read_json, write_json

NOTE = "shard.json"
Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """Part `number`, counted from 1, of `count`."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read `i/n`.

        Raises:
            UsageError: it is not that, or there is no such shard.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if not match:
            raise UsageError(f"--shard {text}: takes i/n, for example 1/4 for the first of four")
        shard = cls(int(match[1]), int(match[2]))
        if not 1 <= shard.number <= shard.count:
            last = max(1, shard.count)
            raise UsageError(f"--shard {text}: no such shard; they go from 1/{last} to {last}/{last}")
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.number}-of-{self.count}"

    def part_of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Its part: every `count`-th item, so that neighbours, which are often alike in size, are spread."""
        return items[self.number - 1 :: self.count]


def check_agreement(stores: Path, options: dict[str, Any], shard: Shard | None) -> None:
    """Compare the options of this call with those of the shards there are, but for the shard itself.

    Args:
        stores: the folder of the shards' stores.
        options: what the results depend on, as text or numbers by the option's name.
        shard: which shard this call is; None: it is the call that puts them together.

    Raises:
        UsageError: they differ; names the shards, the option and both values.
    """
    for path in sorted(stores.glob(f"*/{NOTE}")):
        note = read_json(path)
        if shard is not None and path.parent.name == shard.name:
            continue
        this = f"--shard {shard}" if shard else "this call"
        remedy = f"give all the same options, or choose another --output-dir, or remove {stores}"
        count = int(note["shard"].split("/")[1])
        if shard is not None and count != shard.count:
            raise UsageError(
                f"{this} and --shard {note['shard']} disagree: {shard.count} shards and {count}; {remedy}"
            )
        for name in {**options, **note["options"]}:
            here, there = options.get(name), note["options"].get(name)
            if here != there:
                raise UsageError(
                    f"{this} and --shard {note['shard']} disagree: {name} {here} and {name} {there}; {remedy}"
                )


def announce(stores: Path, options: dict[str, Any], shard: Shard) -> None:
    """Note a shard's options, for the others to agree with.

    Raises:
        UsageError: another shard has other options, see `check_agreement`; nothing is noted.
    """
    check_agreement(stores, options, shard)
    write_json(stores / shard.name / NOTE, {"shard": str(shard), "options": options, "finished": False})
    try:
        # Two shards may have started at once: whichever noted its options last sees the other's.
        check_agreement(stores, options, shard)
    except UsageError:
        (stores / shard.name / NOTE).unlink()
        raise


def note_finished(stores: Path, options: dict[str, Any], shard: Shard) -> None:
    """Note that a shard's photographs are all captured."""
    write_json(stores / shard.name / NOTE, {"shard": str(shard), "options": options, "finished": True})


def unfinished(stores: Path, count: int) -> list[str]:
    """The shards of `count` which are not finished, as `i/n`."""
    notes = (read_json(path) for path in stores.glob(f"*/{NOTE}"))
    finished = {note["shard"] for note in notes if note["finished"]}
    return [str(shard) for shard in (Shard(i + 1, count) for i in range(count)) if str(shard) not in finished]
