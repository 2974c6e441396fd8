"""Collections with known cameras: one scene of coloured balls, written in every form and read back."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from nerfgen_ns.capture.cameras import Cameras, project
from nerfgen_ns.capture.known_camera_files import WorldConvention
from nerfgen_ns.capture.known_cameras import has_known_cameras, in_class_frame, read_known_cameras
from nerfgen_ns.capture.known_folder import prepare_known_cameras
from nerfgen_ns.capture.matte_sources import MatteOptions
from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig
from nerfgen_ns.errors import NerfgenError, UsageError

FRONT, UP, SIDE = np.array([0.0, 0, 0.4]), np.array([0.0, 0.4, 0]), np.array([0.4, 0, 0])
BALLS = np.stack([FRONT, UP, SIDE])
"""In the class frame: red in front, green above, blue on the left-hand side of the object."""
COLOURS = np.eye(3) * 255
SIZE, FOCAL = 64, 80.0
OPENCV = np.diag([1.0, -1, -1, 1])
CLASS_OF = {
    "srn": ((0, 0, 1), (0, 1, 0)),
    "blender": ((0, 0, 1), (0, -1, 0)),
    "nerfstudio": ((0, 1, 0), (0, 0, 1)),
}


def look_at_origin(yaw, pitch, distance=2.0):
    """Class frame, OpenGL camera-to-world."""
    back = np.array([math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)])
    right = np.cross([0.0, 1, 0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.column_stack([right, np.cross(back, right), back, distance * back])
    return pose


POSES = [look_at_origin(yaw, pitch) for yaw, pitch in [(0.3, 0.2), (1.2, 0.5), (-0.7, 0.1), (2.9, 0.7)]]


def pixels_of(pose, points, intrinsics=(FOCAL, FOCAL, SIZE / 2, SIZE / 2)):
    rotation = pose[:3, :3].T
    focal, _, cx, cy = intrinsics
    cameras = Cameras(
        rotation[None], -(rotation @ pose[:3, 3])[None], np.array([focal]), np.array([[cx, cy]])
    )
    return project(cameras, points)[0]


def picture_of(pose, alpha):
    """The balls as discs, far ones first, over white or over nothing."""
    picture = np.full((SIZE, SIZE, 4), 255, np.uint8)
    picture[..., 3] = 0
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    for ball in np.argsort((BALLS - pose[:3, 3]) @ pose[:3, 2]):
        u, v = pixels_of(pose, BALLS[ball : ball + 1])[0]
        picture[np.hypot(columns - u, rows - v) < 3] = [*COLOURS[ball], 255]
    return Image.fromarray(picture if alpha else picture[..., :3])


def in_world(pose, form, scale=1.0):
    """The class frame's pose in the world of a form, by the definition of its axes."""
    up, forward = map(np.array, CLASS_OF[form])
    to_world = np.column_stack([np.cross(up, forward), up, forward]).astype(float)
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = to_world @ pose[:3, :3], scale * to_world @ pose[:3, 3]
    return world


def write_srn(folder, poses=POSES, scale=1.0, halve=False):
    for name in ("rgb", "pose"):
        (folder / name).mkdir(parents=True)
    for number, pose in enumerate(poses):
        picture_of(pose, alpha=False).save(folder / f"rgb/{number:06d}.png")
        numbers = (in_world(pose, "srn", scale) @ OPENCV).ravel()
        (folder / f"pose/{number:06d}.txt").write_text(" ".join(map(repr, numbers.tolist())) + "\n")
    times = 2 if halve else 1
    (folder / "intrinsics.txt").write_text(
        f"{times * FOCAL} {times * SIZE / 2} {times * SIZE / 2} 0.\n"
        f"0. 0. 0.\n1.\n{times * SIZE} {times * SIZE}\n"
    )


def write_blender(folder, poses=POSES, scale=1.0, alpha=True):
    (folder / "train").mkdir(parents=True)
    frames = []
    for number, pose in enumerate(poses):
        picture_of(pose, alpha).save(folder / f"train/r_{number}.png")
        matrix = in_world(pose, "blender", scale).tolist()
        frames.append({"file_path": f"./train/r_{number}", "rotation": 0.1, "transform_matrix": matrix})
    value = {"camera_angle_x": 2 * math.atan(SIZE / 2 / FOCAL), "frames": frames}
    (folder / "transforms_train.json").write_text(json.dumps(value))


def write_nerfstudio(folder, poses=POSES, **frame_keys):
    (folder / "images").mkdir(parents=True)
    frames = []
    for number, pose in enumerate(poses):
        picture_of(pose, alpha=False).save(folder / f"images/{number}.png")
        own = {key: value[number] for key, value in frame_keys.items()}
        frames.append({"file_path": f"images/{number}.png", "transform_matrix": pose.tolist(), **own})
    value = {"fl_x": FOCAL, "cx": SIZE / 2, "cy": SIZE / 2, "w": SIZE, "h": SIZE, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(value))


WRITERS = {"srn": write_srn, "blender": write_blender, "nerfstudio": write_nerfstudio}


def prepared_frames(folder):
    return json.loads((folder / "transforms.json").read_text())["frames"]


@pytest.mark.parametrize("form", WRITERS)
def test_every_form_comes_to_the_class_frame(tmp_path, form):
    WRITERS[form](tmp_path / "data")
    assert has_known_cameras(tmp_path / "data")
    report = prepare_known_cameras(tmp_path / "data", tmp_path / "out", workers=1)
    assert report.accepted == 4 and not report.rejected
    assert report.identities == (4 if form == "nerfstudio" else 1)
    for frame, pose in zip(prepared_frames(tmp_path / "out"), POSES, strict=True):
        matrix = np.array(frame["transform_matrix"])
        np.testing.assert_allclose(matrix[:3, :3], pose[:3, :3], atol=1e-6)
        scale = np.linalg.norm(matrix[:3, 3]) / 2.0
        intrinsics = [frame[key] for key in ("fl_x", "fl_y", "cx", "cy")]
        pixels = pixels_of(matrix, scale * BALLS, intrinsics)
        with Image.open(tmp_path / "out" / frame["file_path"]) as image:
            picture = np.asarray(image)
        for pixel, colour in zip(pixels, COLOURS, strict=True):
            column, row = np.floor(pixel).astype(int)
            if (picture[row, column] != colour).any():
                others = np.delete(pixels, np.argmin(np.abs(pixels - pixel).sum(axis=1)), axis=0)
                assert np.linalg.norm(others - pixel, axis=1).min() < 7, "hidden by another ball"


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
    with pytest.raises(UsageError, match="same axis"):
        in_class_frame(known, WorldConvention("+y", "-y", None))


def test_a_folder_for_each_object_makes_identities_and_views_are_spread(tmp_path):
    for name in ("b", "a"):
        write_srn(tmp_path / f"cars/{name}")
    (tmp_path / "cars/empty").mkdir()
    known = read_known_cameras(tmp_path / "cars", views=2)
    assert [path.relative_to(tmp_path / "cars").as_posix() for path in known.images] == [
        f"{name}/rgb/{number:06d}.png" for name in "ab" for number in (0, 2)
    ]
    prepare_known_cameras(tmp_path / "cars", tmp_path / "out", views=1, class_name="cars", workers=1)
    frames = prepared_frames(tmp_path / "out")
    assert [(frame["identity"], frame["source"]) for frame in frames] == [
        (0, "a/rgb/000000.png"),
        (1, "b/rgb/000000.png"),
    ]


def test_identities_come_from_the_frames_or_from_a_csv_file(tmp_path):
    write_nerfstudio(tmp_path / "data", identity=[5, 3, 5, 4])
    prepare_known_cameras(tmp_path / "data", tmp_path / "out", workers=1)
    assert [frame["identity"] for frame in prepared_frames(tmp_path / "out")] == [0, 1, 0, 2]
    (tmp_path / "identity.csv").write_text("image,identity\n0.png,x\n3.png,x\n")
    prepare_known_cameras(
        tmp_path / "data", tmp_path / "out", identity_file=tmp_path / "identity.csv", workers=1
    )
    assert [frame["identity"] for frame in prepared_frames(tmp_path / "out")] == [0, 1, 2, 0]


def test_intrinsics_follow_images_that_were_scaled_down(tmp_path):
    write_srn(tmp_path / "data", halve=True)
    known = read_known_cameras(tmp_path / "data")
    np.testing.assert_allclose(known.intrinsics[0], [FOCAL, FOCAL, SIZE / 2, SIZE / 2, SIZE, SIZE])


def test_alpha_becomes_a_matte_and_transparency_white(tmp_path):
    write_blender(tmp_path / "data")
    prepare_known_cameras(tmp_path / "data", tmp_path / "out", workers=1)
    frame = prepared_frames(tmp_path / "out")[0]
    with Image.open(tmp_path / "out" / frame["mask_path"]) as matte:
        assert matte.mode == "L" and set(np.unique(matte)) == {0, 255}
    with Image.open(tmp_path / "out" / frame["file_path"]) as image:
        assert image.mode == "RGB" and image.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("kind", [None, "background"])
def test_a_solid_background_needs_no_mattes_and_may_have_them(tmp_path, kind):
    write_blender(tmp_path / "data", alpha=False)
    options = kind and MatteOptions(kind)
    prepare_known_cameras(tmp_path / "data", tmp_path / "out", mattes=options, workers=1)
    assert all(("mask_path" in frame) == (kind is not None) for frame in prepared_frames(tmp_path / "out"))


def test_mattes_that_the_frames_name_are_taken_over(tmp_path):
    names = [f"{number}-matte.png" for number in range(4)]
    write_nerfstudio(tmp_path / "data", mask_path=names)
    matte = np.arange(SIZE * SIZE, dtype=np.uint8).reshape(SIZE, SIZE)
    for name in names:
        Image.fromarray(matte).save(tmp_path / "data" / name)
    prepare_known_cameras(tmp_path / "data", tmp_path / "out", workers=1)
    for frame in prepared_frames(tmp_path / "out"):
        with Image.open(tmp_path / "out" / frame["mask_path"]) as image:
            np.testing.assert_array_equal(image, matte)
    assert not list((tmp_path / "out").glob("*.json.*")) and not (tmp_path / "out/matte_files.json").exists()
    Image.fromarray(matte[:9]).save(tmp_path / "data" / names[2])
    with pytest.raises(UsageError, match=f"{names[2]}: has 64×9 pixels"):
        prepare_known_cameras(tmp_path / "data", tmp_path / "other", workers=1)
    assert not (tmp_path / "other").exists() and not list(tmp_path.glob(".*"))


def test_the_data_parser_reads_what_was_made(tmp_path):
    for name in ("a", "b"):
        write_srn(tmp_path / f"data/{name}")
    prepare_known_cameras(tmp_path / "data", tmp_path / "out", workers=1)
    outputs = NerfgenDataParserConfig(data=tmp_path / "out").setup().get_dataparser_outputs("train")
    assert outputs.metadata["num_identities"] == 2 and outputs.metadata["matte_filenames"] is None
    assert outputs.cameras.metadata["cam_idx"].flatten().tolist() == [0] * 4 + [1] * 4


def test_making_again_leaves_what_is_there_and_other_options_replace_it(tmp_path):
    write_srn(tmp_path / "data")
    first = prepare_known_cameras(tmp_path / "data", tmp_path / "out", workers=1)
    status = (tmp_path / "out/transforms.json").stat()
    assert prepare_known_cameras(tmp_path / "data", tmp_path / "out", workers=1) == first
    assert (tmp_path / "out/transforms.json").stat().st_ino == status.st_ino
    prepare_known_cameras(tmp_path / "data", tmp_path / "out", views=1, workers=1)
    assert len(prepared_frames(tmp_path / "out")) == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes").touch()
    with pytest.raises(UsageError, match="did not make"):
        prepare_known_cameras(tmp_path / "data", tmp_path / "mine", workers=1)
    with pytest.raises(UsageError, match="overlaps"):
        prepare_known_cameras(tmp_path / "data", tmp_path / "data/out", workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "mine", "out"]


def test_photographs_that_cannot_be_used_are_left_out_and_reported(tmp_path):
    write_blender(tmp_path / "data")
    with Image.open(tmp_path / "data/train/r_1.png") as image:
        image.convert("RGB").save(tmp_path / "data/train/r_1.png")
    report = prepare_known_cameras(tmp_path / "data", tmp_path / "out", workers=1)
    assert [(entry.source, "alpha" in entry.reason) for entry in report.rejected] == [("train/r_1.png", True)]
    assert [frame["source"] for frame in prepared_frames(tmp_path / "out")] == [
        f"train/r_{number}.png" for number in (0, 2, 3)
    ]
    with pytest.raises(NerfgenError, match="none of its 1 photographs"):
        write_blender(tmp_path / "one", POSES[:1], alpha=False)
        prepare_known_cameras(tmp_path / "one", tmp_path / "none", mattes=MatteOptions("alpha"), workers=1)


def pose_text(matrix):
    return " ".join(map(str, np.asarray(matrix).ravel()))


GOOD = in_world(POSES[1], "srn") @ OPENCV


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("pose/000001.txt", pose_text(np.where(np.eye(4) == 1, np.nan, GOOD)), "000001.txt: .* not finite"),
        ("pose/000001.txt", pose_text(GOOD * [[0], [0], [0], [1]]), "000001.txt: .* singular"),
        ("pose/000001.txt", pose_text(GOOD @ np.diag([1, 1, -1, 1])), "000001.txt: .* left-handed"),
        ("pose/000001.txt", pose_text(GOOD @ np.diag([1.1, 1, 1, 1])), "000001.txt: .* not orthonormal"),
        ("pose/000001.txt", pose_text(GOOD @ np.diag([2, 2, 2, 1])), "000001.txt: .* scaled by 2;"),
        ("pose/000001.txt", pose_text(GOOD.T), "000001.txt: .* transposed"),
        ("pose/000001.txt", "1 2 3", "000001.txt: holds 3 numbers and not the 16"),
        ("pose/000001.txt", "camera", "000001.txt: is not a list of numbers"),
        ("intrinsics.txt", "0 32 32 0.\n0. 0. 0.\n1.\n64 64\n", "intrinsics.txt: row 1: focal length 0, 0"),
        ("intrinsics.txt", "-80 32 32 0.\n0. 0. 0.\n1.\n64 64\n", "intrinsics.txt: row 1: focal length -80"),
        ("intrinsics.txt", "80 32 32 0.\n0. 0. 0.\n1.\n0 64\n", "intrinsics.txt: row 4"),
        ("intrinsics.txt", "80 32", "intrinsics.txt: holds 2 numbers"),
    ],
)
def test_a_wrong_srn_file_is_named(tmp_path, name, text, complaint):
    write_srn(tmp_path / "data")
    (tmp_path / "data" / name).write_text(text)
    with pytest.raises(UsageError, match=complaint):
        prepare_known_cameras(tmp_path / "data", tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


def test_an_image_without_a_pose_is_named(tmp_path):
    write_srn(tmp_path)
    (tmp_path / "pose/000002.txt").unlink()
    with pytest.raises(UsageError, match=r"000002\.txt: is missing"):
        read_known_cameras(tmp_path)


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"fl_x": [80, 0, 80, 80]}, r"transforms\.json: frame 1 \(images/1\.png\): focal length 0"),
        ({"fl_x": [80, 80, -1, 80]}, r"frame 2 \(images/2\.png\): focal length -1"),
        ({"fl_x": [80, 80, "x", 80]}, r"frame 2 .*no number"),
        ({"cx": [32, 32, 32, float("nan")]}, r"frame 3 .*intrinsics"),
        ({"transform_matrix": [POSES[0].tolist()] * 3 + [[[1]]]}, r"frame 3 .*not 4 × 4"),
        (
            {"file_path": ["images/0.png", "images/9.png"] * 2},
            r"frame 1 \(images/9\.png\): there is no such file",
        ),
        ({"mask_path": ["a.png", None, "a.png", "a.png"]}, r"frame 1 .*has no mask_path, but 3"),
    ],
)
def test_a_wrong_frame_is_named(tmp_path, keys, complaint):
    write_nerfstudio(tmp_path / "data", **keys)
    with pytest.raises(UsageError, match=complaint):
        prepare_known_cameras(tmp_path / "data", tmp_path / "out", workers=1)


def test_a_world_whose_origin_is_elsewhere_is_an_error(tmp_path):
    away = [np.array(pose) for pose in POSES]
    for pose in away:
        pose[:3, 3] += [20, 0, 0]
    write_nerfstudio(tmp_path, away)
    with pytest.raises(UsageError, match="do not see the world's origin"):
        in_class_frame(read_known_cameras(tmp_path))


def test_a_folder_without_cameras_is_told_apart(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    assert not has_known_cameras(tmp_path) and not has_known_cameras(tmp_path / "a.png")
    with pytest.raises(UsageError, match="holds no cameras"):
        read_known_cameras(tmp_path)
