"""`ns-train` as a process: its environment."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nerfgen_ns.runs import launch
from nerfgen_ns.runs.launch import ALLOCATOR, Training


@pytest.mark.parametrize("given", [None, *ALLOCATOR])
def test_gpu_memory_may_grow_in_segments_unless_the_environment_says_how_it_is_allocated(
    given: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ALLOCATOR:
        monkeypatch.delenv(name, raising=False)
    if given is not None:
        monkeypatch.setenv(given, "max_split_size_mb:64")
    started: list[Any] = []
    monkeypatch.setattr(
        launch.subprocess, "Popen", lambda *_, **options: started.append(options) or SimpleNamespace()
    )
    Training(tmp_path / "data", tmp_path / "out").start()
    environment = started[0]["env"]
    expected = (
        {ALLOCATOR[0]: "expandable_segments:True"} if given is None else {given: "max_split_size_mb:64"}
    )
    assert {name: environment[name] for name in ALLOCATOR if name in environment} == expected
