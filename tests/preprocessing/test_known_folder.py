"""Prepared folders of collections with known cameras."""

import json

import numpy as np
import pytest
from PIL import Image

from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.preprocessing.mattes import MatteOptions
from nerfgen_ns.preprocessing.posed_folder import prepare_known_cameras
from nerfgen_ns.preprocessing.posed_images import has_known_cameras, read_known_cameras
from tests.helpers.ball_scenes import (
    BALLS,
    COLORS,
    POSES,
    SIZE,
    WRITERS,
    pixels_of,
    write_blender,
    write_nerfstudio,
    write_srn,
)


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
        for pixel, color in zip(pixels, COLORS, strict=True):
            column, row = np.floor(pixel).astype(int)
            if (picture[row, column] != color).any():
                others = np.delete(pixels, np.argmin(np.abs(pixels - pixel).sum(axis=1)), axis=0)
                assert np.linalg.norm(others - pixel, axis=1).min() < 7, "hidden by another ball"


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
    with pytest.raises(UsageError, match=f"{names[2]}: .*64×9"):
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
    with pytest.raises(UsageError, match="/mine: "):
        prepare_known_cameras(tmp_path / "data", tmp_path / "mine", workers=1)
    with pytest.raises(UsageError, match="data/out: "):
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
    with pytest.raises(NerfgenError, match=r"/one: .*train/r_0\.png"):
        write_blender(tmp_path / "one", POSES[:1], alpha=False)
        prepare_known_cameras(tmp_path / "one", tmp_path / "none", mattes=MatteOptions("alpha"), workers=1)
