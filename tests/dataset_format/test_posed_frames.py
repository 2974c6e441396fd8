"""Frames of other projects, which leave out what their images tell."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nerfgen_ns.dataset_format.posed_frames import PosedFrame, has_posed_frames, read_posed_frames
from nerfgen_ns.errors import UsageError

POSE = np.eye(4).tolist()


def read_one(folder: Path, name: str, head: dict[str, Any], **frame: Any) -> PosedFrame:
    assert not has_posed_frames(folder)
    entry = {"file_path": "images/a", "transform_matrix": POSE, **frame}
    (folder / name).write_text(json.dumps({**head, "frames": [entry]}))
    assert has_posed_frames(folder)
    (read,) = read_posed_frames(folder)
    return read


def test_blender_s_angle_is_a_focal_length_of_the_image(tmp_path: Path) -> None:
    frame = read_one(tmp_path, "transforms_train.json", {"camera_angle_x": np.pi / 2})
    assert frame.blender and frame.identity is None and frame.mask_path is None
    np.testing.assert_allclose(frame.intrinsics(80, 60), [40, 40, 40, 30, 80, 60])


def test_nerfstudio_s_intrinsics_follow_an_image_that_was_scaled(tmp_path: Path) -> None:
    head = {"fl_x": 100, "w": 80, "h": 60, "k1": 0.1, "k2": 0.0}
    frame = read_one(tmp_path, "transforms.json", head, cx=30, identity="a", mask_path="m.png")
    assert not frame.blender and (frame.identity, frame.mask_path) == ("a", "m.png")
    assert frame.distortion == {"k1": 0.1}
    np.testing.assert_allclose(frame.intrinsics(40, 30), [50, 50, 15, 15, 40, 30])


def test_without_a_size_the_intrinsics_are_those_of_the_image(tmp_path: Path) -> None:
    frame = read_one(tmp_path, "transforms.json", {}, fl_x=100, fl_y=90)
    np.testing.assert_allclose(frame.intrinsics(40, 30), [100, 90, 20, 15, 40, 30])


@pytest.mark.parametrize(
    ("head", "frame", "named"),
    [
        ({"camera_angle_x": 4.0}, {}, "camera_angle_x"),
        ({"camera_angle_x": "wide"}, {}, "camera_angle_x"),
        ({"fl_x": "x"}, {}, "fl_x"),
        ({"fl_x": 1.0, "w": 0}, {}, "w 0"),
        ({"fl_x": 1.0}, {"k1": "much"}, "k1"),
        ({}, {}, "fl_x"),
        ({"fl_x": 1.0}, {"transform_matrix": [[1]]}, "4 × 4"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_frame(
    tmp_path: Path, head: dict[str, Any], frame: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError, match=r"transforms\.json: frame 0 \(images/a\)") as caught:
        read_one(tmp_path, "transforms.json", head, **frame).intrinsics(40, 30)
    assert named in str(caught.value)
