"""transforms.json: what is written is what is read, and what is wrong with it is named with its file."""

import ast
import json
import math
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nerfgen_ns.dataset_format.frame import KINDS, Frame
from nerfgen_ns.dataset_format.transforms import (
    read_head,
    read_transforms,
    row_of_identity,
    rows_of_frames,
    stream_frames,
    transforms_path,
    write_transforms,
)
from nerfgen_ns.errors import UsageError
from tests.helpers.frames import some_frame

ROOT = Path(__file__).resolve().parents[2]
FULL: dict[str, Any] = {
    "mask_path": "mattes/a.png",
    "depth_path": "depth/a.npz",
    "semantic_path": "labels/a.png",
    "distortion": {"k1": 0.1, "p2": -0.01},
    "identity": 7,
    "source": 'Zoë\'s "best".jpg',
    "reprojection_rmse": 1.25,
    "photograph_to_crop": np.array([[0.5, 0.1, 3.0], [-0.1, 0.5, 4.0]]),
    "coefficients": np.array([0.1, -0.2]),
    "role": "query",
    "true_transform_matrix": np.eye(4),
    "yaw": 1.0,
    "pitch": 2.0,
    "roll": 3.0,
    "landmarks": np.array([[1.0, 2.0], [3.0, 4.0]]),
    "landmarks2d": np.array([[1.0, 2.0], [3.0, 4.0]]),
    "landmarks_visible": np.array([0, 1]),
    "landmarks3d": np.ones((2, 3)),
    "pose_change": 0.5,
    "others": {"sharpness": 3, "tags": ["x"]},
}


def entry(**changes: Any) -> dict[str, Any]:
    """A frame as a file has it; `...` leaves a key out."""
    value = some_frame().to_json() | changes
    return {key: one for key, one in value.items() if one is not ...}


def write(folder: Path, frames: Any, **head: Any) -> Path:
    path = folder / "transforms.json"
    path.write_text(json.dumps({**head, "frames": frames}))
    return path


def test_every_field_survives_being_written_and_read(tmp_path: Path) -> None:
    frame = some_frame(**FULL)
    assert len(FULL) + 8 == len(fields(Frame)), "every field is here"
    head = {"camera_model": "OPENCV", "class_name": "cats", "semantic_labels": ["none", "fur"], "else": [1]}
    write_transforms(tmp_path, [frame], head)
    read = read_transforms(tmp_path)
    assert read.head == head and (read.class_name, read.semantic_labels) == ("cats", ["none", "fur"])
    (again,) = read.frames
    for field in fields(Frame):
        one, other = getattr(frame, field.name), getattr(again, field.name)
        assert type(one) is type(other), field.name
        np.testing.assert_array_equal(one, other)
    before = read.path.read_bytes()
    write_transforms(tmp_path / "transforms.json", read.frames, read.head)
    assert read.path.read_bytes() == before


def test_what_is_not_known_is_not_written(tmp_path: Path) -> None:
    write_transforms(tmp_path, [some_frame()])
    value = json.loads((tmp_path / "transforms.json").read_text())
    assert value["camera_model"] == "OPENCV"
    assert set(value["frames"][0]) == {
        "file_path", "transform_matrix", "fl_x", "fl_y", "cx", "cy", "w", "h",
    }  # fmt: skip


def test_a_frame_is_a_line_and_frames_are_taken_one_by_one(tmp_path: Path) -> None:
    taken: list[int] = []

    def frames() -> Iterator[Frame]:
        for place in range(3):
            taken.append(place)
            yield some_frame(file_path=f"images/{place}.png", identity=place)

    write_transforms(tmp_path, frames(), {"class_name": "cats"})
    lines = (tmp_path / "transforms.json").read_text().splitlines()
    assert len(lines) == 5 and [json.loads(line.rstrip(","))["identity"] for line in lines[1:4]] == [0, 1, 2]
    streamed = stream_frames(tmp_path)
    first = next(streamed)
    assert first[1].to_json() == json.loads(lines[1].rstrip(","))
    assert [place for place, _ in streamed] == [1, 2]
    assert read_head(tmp_path) == {"camera_model": "OPENCV", "class_name": "cats"}


def test_an_interrupted_writer_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_transforms(tmp_path, [some_frame()])
    before = (tmp_path / "transforms.json").read_bytes()

    def frames() -> Iterator[Frame]:
        yield some_frame()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_transforms(tmp_path, frames())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"transforms.json": before}


def test_missing_landmarks_are_null_and_any_other_nan_is_refused(tmp_path: Path) -> None:
    write_transforms(tmp_path, [some_frame(landmarks=np.array([[1.0, 2.0], [np.nan, np.nan]]))])
    assert "NaN" not in (tmp_path / "transforms.json").read_text()
    (frame,) = read_transforms(tmp_path).frames
    np.testing.assert_array_equal(frame.landmarks, [[1.0, 2.0], [np.nan, np.nan]])
    with pytest.raises(UsageError, match=r"transforms\.json: frame images/a\.png"):
        write_transforms(tmp_path, [some_frame(coefficients=np.array([np.inf]))])


def test_what_a_frame_of_a_camera_does_not_have_the_file_has(tmp_path: Path) -> None:
    own = entry(fl_x=..., w=..., cx=70.5)
    (frame,) = read_transforms(write(tmp_path, [own], fl_x=300, w=128.0, cx=1.0, k1=0.2, seed=5)).frames
    assert (frame.fl_x, frame.w, frame.cx, frame.distortion) == (300.0, 128, 70.5, {"k1": 0.2})
    assert type(frame.fl_x) is float and type(frame.w) is int
    assert not frame.others


def test_null_is_nothing_known(tmp_path: Path) -> None:
    unknown = dict.fromkeys(["source", "role", "reprojection_rmse", "photograph_to_crop", "coefficients"])
    (frame,) = read_transforms(write(tmp_path, [entry(**unknown, landmarks=[])])).frames
    assert frame.to_json() == entry()


@pytest.mark.parametrize("name", ["../x.png", "../../x.png", "a/../../x.png", "/tmp/x.png", "", ".", 7, None])
@pytest.mark.parametrize("key", ["file_path", "mask_path", "depth_path", "semantic_path"])
def test_a_file_that_leads_out_of_the_folder_is_refused(tmp_path: Path, key: str, name: Any) -> None:
    path = write(tmp_path, [entry(mask_path="a.png"), entry(**{"mask_path": "a.png", key: name})])
    for reads in (read_transforms, lambda data: list(stream_frames(data))):
        with pytest.raises(UsageError, match=f'transforms.json: frame 1: "{key}"') as caught:
            reads(path)
        assert "\n" not in str(caught.value)


def test_a_data_set_that_is_only_read_may_name_files_elsewhere_but_files(tmp_path: Path) -> None:
    path = write(tmp_path, [entry(file_path="../x.png"), entry(file_path="/tmp/x.png")])
    assert read_transforms(path, allow_outside=True).files == [tmp_path / "../x.png", Path("/tmp/x.png")]
    with pytest.raises(UsageError, match='"file_path"'):
        read_transforms(write(tmp_path, [entry(file_path=7)]), allow_outside=True)
    with pytest.raises(UsageError, match='"landmarks_path"'):
        read_transforms(write(tmp_path, [entry()], landmarks_path="../landmarks.npy"))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        *(({key: ...}, f'"{key}"') for key in ("transform_matrix", "fl_x", "fl_y", "cx", "cy", "w", "h")),
        ({"fl_x": 0}, "0, 268.8"),
        ({"fl_y": math.nan}, "nan"),
        ({"cx": "6"}, '"cx"'),
        ({"cy": math.inf}, "cy"),
        ({"w": 0.5}, "w"),
        ({"k1": "much"}, '"k1"'),
        ({"transform_matrix": [[1, 0], [0, 1]]}, "4 × 4"),
        ({"transform_matrix": (2 * np.eye(4)).tolist()}, "[0.0, 0.0, 0.0, 2.0]"),
        ({"transform_matrix": np.diag([2, 2, 2, 1]).tolist()}, "2"),
        ({"transform_matrix": np.diag([1, 1, -1, 1]).tolist()}, "left-handed"),
        ({"identity": None}, '"identity"'),
        ({"identity": 1.5}, '"identity"'),
        ({"identity": True}, '"identity"'),
        ({"reprojection_rmse": "small"}, '"reprojection_rmse"'),
        ({"photograph_to_crop": [[1, 0], [0, 1]]}, '"photograph_to_crop"'),
        ({"true_transform_matrix": [[1, 2], [3]]}, '"true_transform_matrix"'),
        ({"landmarks": {"nose": [1, 2]}}, '"landmarks"'),
        ({"landmarks3d": [[1, 2]]}, '"landmarks3d"'),
        ({"coefficients": ["a"]}, '"coefficients"'),
    ],
)
def test_what_is_wrong_with_a_frame_is_named(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    path = write(tmp_path, [entry(), entry(file_path="images/b.png", **changes)])
    with pytest.raises(UsageError) as caught:
        read_transforms(path)
    message, where = str(caught.value), f"{path}: frame images/b.png"
    assert message.startswith(where) and named in message.removeprefix(where) and "\n" not in message


@pytest.mark.parametrize(
    "text", ["", "[]", "7", '{"frames": [', '{"frames": []}', '{"frames": {}}', '{"frames": [7]}']
)
def test_a_file_without_frames_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "transforms.json").write_text(text)
    with pytest.raises(UsageError, match=r"transforms\.json: "):
        read_transforms(tmp_path)


def test_a_file_cut_off_between_frames_is_named(tmp_path: Path) -> None:
    write_transforms(tmp_path, [some_frame()] * 2)
    path = tmp_path / "transforms.json"
    path.write_text(path.read_text()[:-100])
    for reads in (read_transforms, lambda data: list(stream_frames(data))):
        with pytest.raises(UsageError, match=r"transforms\.json: "):
            reads(tmp_path)


def test_some_mattes_and_identities_of_two_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match='"mask_path"'):
        read_transforms(write(tmp_path, [entry(mask_path="a.png"), entry()]))
    for others in ({}, {"identity": 1}):
        with pytest.raises(UsageError, match='"identity"'):
            read_transforms(write(tmp_path, [entry(identity="anna"), entry(**others)]))


@pytest.mark.parametrize(
    ("identities", "rows"),
    [
        ([7, 90, 7, 8], [0, 2, 0, 1]),
        (["eve", "bob", "eve"], [1, 0, 1]),
        ([None, None, None], [0, 1, 2]),
        ([5, None, None], [2, 0, 1]),
    ],
)
def test_each_identity_owns_the_row_of_its_order(identities: list[Any], rows: list[int]) -> None:
    frames = [some_frame(identity=identity) for identity in identities]
    assert rows_of_frames(frames) == rows
    owners = row_of_identity(frames)
    assert sorted(owners.values()) == list(range(len(set(rows)))) and list(owners) == sorted(owners)  # type: ignore[type-var]


def test_a_folder_and_its_file_are_one_data_set() -> None:
    assert transforms_path(Path("a/b")) == transforms_path(Path("a/b/transforms.json"))
    assert transforms_path(Path("a/other.json")) == Path("a/other.json")


KEYS = {
    "file_path", "mask_path", "transform_matrix", "true_transform_matrix", "fl_x", "fl_y", "semantic_path",
    "reprojection_rmse",
}  # fmt: skip
ALLOWED = {
    ("nerfgen_ns/evaluation/folders.py", "semantic_path"),  # the field that tells of labels
    ("nerfgen_ns/inversion/refit.py", "reprojection_rmse"),  # a figure of the report
    ("nerfgen_ns/semantics/factory_formats.py", "file_path"),  # COCO has a key of its own for it
    ("nerfgen_ns/semantics/factory_formats.py", "mask_path"),  # the fields that tell of its maps
    ("nerfgen_ns/semantics/factory_formats.py", "semantic_path"),
    *(("nerfgen_ns/semantics/factory_card.py", key) for key in KEYS),  # the schema of what the factory writes
}


def test_nothing_else_knows_the_keys_of_a_frame() -> None:
    assert set(KINDS) >= KEYS
    found = set()
    for folder in ("nerfgen_ns", "datamanagers", "fields", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if name.startswith("nerfgen_ns/dataset_format/"):
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and node.value in KEYS:
                    found.add((name, node.value))
    assert found <= ALLOWED
