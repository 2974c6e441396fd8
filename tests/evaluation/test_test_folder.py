"""Reading a test folder: what it knows, and what is wrong with it in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nerfgen_ns.errors import UsageError
from nerfgen_ns.evaluation.folders import open_test_folder

Changed = Callable[..., Path]


def without(key: str) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda frames: [{k: v for k, v in frame.items() if k != key} for frame in frames]


def test_frames_stand_beside_their_photographs(seen_heads: Path, changed: Changed) -> None:
    folder = open_test_folder(changed(seen_heads, lambda frames: frames[::-1]), "test", 2)
    for number, frame in enumerate(folder.frames):
        assert str(folder.dataset.image_filenames[number]) == frame.file_path
    assert folder.dataset.get_numpy_image(0).shape == (16, 16, 3)
    assert folder.depth(0).shape == folder.semantics(0).shape == (16, 16)
    matte = folder.matte(0)
    assert matte is not None and matte.shape == (16, 16)


def test_what_is_known_is_told_by_its_key(seen_heads: Path, changed: Changed) -> None:
    folder = open_test_folder(changed(seen_heads, without("depth_path")), "test")
    missing = folder.missing("depth", folder.chosen)
    assert missing is not None and missing.startswith('9 of 9 frames have no "depth_path": ')
    assert folder.missing("semantics", folder.chosen) is None
    assert folder.missing("landmarks3d", folder.chosen) is None


def test_labels_are_those_of_the_stored_picture(seen_heads: Path) -> None:
    folder = open_test_folder(seen_heads, "test")
    assert folder.labels[0] == "background"
    known = torch.isfinite(folder.depth(0))
    assert torch.equal(folder.semantics(0) > 0, known)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_a_depth_of_nothing_is_infinite(
    seen_heads: Path, changed: Changed, tmp_path: Path, value: float
) -> None:
    depth = np.full((32, 32), 2.5, dtype=np.float32)
    depth[:16] = value
    np.savez(tmp_path / "own.npz", depth=depth)
    path = changed(seen_heads, lambda frames: [{**frames[0], "depth_path": str(tmp_path / "own.npz")}])
    read = open_test_folder(path, "test").depth(0)
    assert torch.isinf(read[:16]).all() and (read[16:] == 2.5).all()


def test_depth_of_another_size_is_named_with_both_sizes(
    seen_heads: Path, changed: Changed, tmp_path: Path
) -> None:
    np.savez(tmp_path / "own.npz", depth=np.ones((16, 24), dtype=np.float32))
    path = changed(seen_heads, lambda frames: [{**frames[0], "depth_path": str(tmp_path / "own.npz")}])
    with pytest.raises(UsageError, match=r"own\.npz: .*16 × 24.*32 × 32"):
        open_test_folder(path, "test").depth(0)


@pytest.mark.parametrize("contents", [b"", b"no archive", None])
def test_an_unreadable_depth_map_is_named(
    seen_heads: Path, changed: Changed, tmp_path: Path, contents: bytes | None
) -> None:
    own = tmp_path / "own.npz"
    if contents is not None:
        own.write_bytes(contents)
    path = changed(seen_heads, lambda frames: [{**frames[0], "depth_path": str(own)}])
    with pytest.raises(UsageError, match=r'own\.npz: .*"depth"'):
        open_test_folder(path, "test").depth(0)


def test_an_archive_without_depth_or_with_objects_is_refused(
    seen_heads: Path, changed: Changed, tmp_path: Path
) -> None:
    np.savez(tmp_path / "0.npz", z=np.ones((32, 32)))
    np.savez(tmp_path / "1.npz", depth=np.array([{"a": 1}], dtype=object))
    path = changed(
        seen_heads,
        lambda frames: [{**frames[n], "depth_path": str(tmp_path / f"{n}.npz")} for n in range(2)],
    )
    folder = open_test_folder(path, "test")
    for number in range(2):
        with pytest.raises(UsageError, match=f'{number}.npz: .*"depth"'):
            folder.depth(number)


def test_landmarks_that_are_not_visible_are_left_out(seen_heads: Path, changed: Changed) -> None:
    def hide(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for frame in frames:
            frame["landmarks_visible"] = [0] + [1] * (len(frame["landmarks3d"]) - 1)
        return frames

    folder = open_test_folder(changed(seen_heads, hide), "test")
    points = folder.landmarks3d(0)
    assert np.isnan(points[0]).all() and np.isfinite(points[1:]).all()
    np.testing.assert_array_equal(points[1:], folder.frames[0].landmarks3d[1:])


def test_landmarks_of_another_number_are_named(seen_heads: Path, changed: Changed) -> None:
    def cut(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
        frames[1]["landmarks3d"] = frames[1]["landmarks3d"][:-1]
        return frames

    folder = open_test_folder(changed(seen_heads, cut), "test")
    with pytest.raises(UsageError, match=f'{folder.frames[1].file_path}: "landmarks3d"'):
        folder.landmarks3d(1)


@pytest.mark.parametrize("identities", [[0, 1, None], [0, "anna", 1], [[0], [1], [2]]])
def test_identities_of_several_kinds_are_refused(
    seen_heads: Path, changed: Changed, identities: list[Any]
) -> None:
    def name(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for frame, identity in zip(frames, identities, strict=False):
            frame.pop("identity")
            if identity is not None:
                frame["identity"] = identity
        return frames[: len(identities)]

    with pytest.raises(UsageError, match=r'transforms\.json: .*"identity"'):
        open_test_folder(changed(seen_heads, name), "test")
