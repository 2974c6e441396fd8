"""Cameras that are known, in every form: brought into the class frame, or refused by file and row."""

import numpy as np
import pytest
from PIL import Image

from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing import posed_images as known_cameras
from nerfgen_ns.preprocessing.posed_folder import prepare_known_cameras
from nerfgen_ns.preprocessing.posed_images import (
    WorldConvention,
    has_known_cameras,
    in_class_frame,
    read_known_cameras,
)
from tests.helpers.ball_scenes import (
    FOCAL,
    OPENCV,
    POSES,
    SIZE,
    WRITERS,
    in_world,
    write_nerfstudio,
    write_srn,
)


@pytest.mark.parametrize(("form", "size"), [("srn", 1.0), ("blender", 3.0), ("srn", 0.2)])
def test_the_world_is_scaled_so_that_what_is_seen_fits_in_the_cube(tmp_path, form, size):
    WRITERS[form](tmp_path, scale=size)
    known = in_class_frame(read_known_cameras(tmp_path))
    # The sphere that the border of the images touches has radius 1: sin of half the angle = 1/distance.
    distance = np.linalg.norm(known.poses[:, :3, 3], axis=1)
    np.testing.assert_allclose(np.sin(np.arctan(SIZE / 2 / FOCAL)) * distance, 1, rtol=1e-6)


def test_nerfstudios_world_is_taken_as_it_is_and_a_convention_may_be_given(tmp_path):
    write_nerfstudio(tmp_path)
    known = in_class_frame(read_known_cameras(tmp_path))
    np.testing.assert_allclose(known.poses, POSES)
    turned = in_class_frame(read_known_cameras(tmp_path), WorldConvention("+y", "+x", 0.5))
    # What looked to +x now looks to +z.
    np.testing.assert_allclose(turned.poses[0, :3, 3], 0.5 * POSES[0][[2, 1, 0], 3] * [-1, 1, 1])
    assert np.linalg.det(turned.poses[0, :3, :3]) == pytest.approx(1)
    with pytest.raises(UsageError, match=r"\+y.*-y"):
        in_class_frame(known, WorldConvention("+y", "-y", None))


def test_intrinsics_follow_images_that_were_scaled_down(tmp_path):
    write_srn(tmp_path / "data", halve=True)
    known = read_known_cameras(tmp_path / "data")
    np.testing.assert_allclose(known.intrinsics[0], [FOCAL, FOCAL, SIZE / 2, SIZE / 2, SIZE, SIZE])


def pose_text(matrix):
    return " ".join(map(str, np.asarray(matrix).ravel()))


GOOD = in_world(POSES[1], "srn") @ OPENCV


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("pose/000001.txt", pose_text(np.where(np.eye(4) == 1, np.nan, GOOD)), "000001.txt: "),
        ("pose/000001.txt", pose_text(GOOD * [[0], [0], [0], [1]]), "000001.txt: "),
        ("pose/000001.txt", pose_text(GOOD @ np.diag([1, 1, -1, 1])), "000001.txt: "),
        ("pose/000001.txt", pose_text(GOOD @ np.diag([1.1, 1, 1, 1])), "000001.txt: "),
        ("pose/000001.txt", pose_text(GOOD @ np.diag([2, 2, 2, 1])), "000001.txt: .* 2;"),
        ("pose/000001.txt", pose_text(GOOD.T), "000001.txt: "),
        ("pose/000001.txt", "1 2 3", "000001.txt: .*3 .*16"),
        ("pose/000001.txt", "camera", "000001.txt: .*'camera'"),
        ("intrinsics.txt", "0 32 32 0.\n0. 0. 0.\n1.\n64 64\n", "intrinsics.txt: row 1: .* 0, 0"),
        ("intrinsics.txt", "-80 32 32 0.\n0. 0. 0.\n1.\n64 64\n", "intrinsics.txt: row 1: .* -80"),
        ("intrinsics.txt", "80 32 32 0.\n0. 0. 0.\n1.\n0 64\n", "intrinsics.txt: row 4"),
        ("intrinsics.txt", "80 32", "intrinsics.txt: .* 2 "),
    ],
)
def test_a_wrong_srn_file_is_named(tmp_path, name, text, named):
    write_srn(tmp_path / "data")
    (tmp_path / "data" / name).write_text(text)
    with pytest.raises(UsageError, match=named):
        prepare_known_cameras(tmp_path / "data", tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


def test_an_image_without_a_pose_is_named(tmp_path):
    write_srn(tmp_path)
    (tmp_path / "pose/000002.txt").unlink()
    with pytest.raises(UsageError, match=r"/000002\.txt: "):
        read_known_cameras(tmp_path)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"fl_x": [80, 0, 80, 80]}, r"transforms\.json: frame 1 \(images/1\.png\): .* 0, "),
        ({"fl_x": [80, 80, -1, 80]}, r"frame 2 \(images/2\.png\): .* -1, "),
        ({"fl_x": [80, 80, "x", 80]}, r'frame 2 .*"fl_x"'),
        ({"cx": [32, 32, 32, float("nan")]}, r"frame 3 .*cx"),
        ({"transform_matrix": [POSES[0].tolist()] * 3 + [[[1]]]}, r"frame 3 .*4 × 4"),
        ({"file_path": ["images/0.png", "images/9.png"] * 2}, r"frame 1 \(images/9\.png\): "),
        ({"mask_path": ["images/0.png", None, *["images/0.png"] * 2]}, r"frame 1 .*mask_path.* 3 "),
        ({"mask_path": ["images/0.png", "a.png"] * 2}, r"frame 1 .*/a\.png; .*mask_path"),
    ],
)
def test_a_wrong_frame_is_named(tmp_path, keys, named):
    write_nerfstudio(tmp_path / "data", **keys)
    with pytest.raises(UsageError, match=named):
        prepare_known_cameras(tmp_path / "data", tmp_path / "out", workers=1)


def test_a_world_whose_origin_is_elsewhere_is_an_error(tmp_path):
    away = [np.array(pose) for pose in POSES]
    for pose in away:
        pose[:3, 3] += [20, 0, 0]
    write_nerfstudio(tmp_path, away)
    with pytest.raises(UsageError, match=r"transforms\.json: frame \d"):
        in_class_frame(read_known_cameras(tmp_path))


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder / "pose"))

    monkeypatch.setattr(known_cameras, "reader_of", refuse)
    with pytest.raises(UsageError, match="/pose: "):
        has_known_cameras(tmp_path)


def test_a_folder_without_cameras_is_told_apart(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    assert not has_known_cameras(tmp_path) and not has_known_cameras(tmp_path / "a.png")
    with pytest.raises(UsageError, match=f"^{tmp_path}: "):
        read_known_cameras(tmp_path)
