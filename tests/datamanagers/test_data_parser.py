"""The data parser."""

import json
import math

import numpy as np
import pytest
import torch

from nerfgen_ns.datamanagers.data_parser import (
    NerfgenDataParserConfig,
    evenly_spread,
    find_prepared,
    select_frames,
)
from nerfgen_ns.errors import UsageError


def parse(data, split="train", **options):
    return NerfgenDataParserConfig(data=data, **options).setup().get_dataparser_outputs(split)


def rewrite(folder, change) -> None:
    path = folder / "transforms.json"
    transforms = json.loads(path.read_text())
    change(transforms)
    path.write_text(json.dumps(transforms))


def test_cameras_are_taken_as_they_are(make_prepared):
    folder = make_prepared([(12, 10), (12, 10), (8, 16)])
    outputs = parse(folder)
    frames = json.loads((folder / "transforms.json").read_text())["frames"]
    for place, frame in enumerate(frames):
        camera = outputs.cameras[place]
        matrix = torch.tensor(frame["transform_matrix"])[:3]
        torch.testing.assert_close(camera.camera_to_worlds, matrix, atol=1e-6, rtol=0)
        for name, key in (("fx", "fl_x"), ("fy", "fl_y"), ("cx", "cx"), ("cy", "cy")):
            assert getattr(camera, name).item() == pytest.approx(frame[key], abs=1e-5)
        assert (camera.width.item(), camera.height.item()) == (frame["w"], frame["h"])
        assert outputs.image_filenames[place] == folder / frame["file_path"]
        assert outputs.metadata["matte_filenames"][place] == folder / frame["mask_path"]
    torch.testing.assert_close(outputs.scene_box.aabb, torch.tensor([[-1.0] * 3, [1.0] * 3]))


def test_intrinsics_of_the_file_serve_every_frame(make_prepared):
    own = parse(make_prepared(name="own"))
    shared = parse(make_prepared(name="shared", shared_intrinsics=True))
    for name in ("fx", "fy", "cx", "cy", "width", "height"):
        torch.testing.assert_close(getattr(own.cameras, name), getattr(shared.cameras, name))


def test_mattes_are_not_what_nerfstudio_calls_masks(make_prepared):
    outputs = parse(make_prepared(name="with"))
    assert outputs.mask_filenames is None and len(outputs.metadata["matte_filenames"]) == 4
    assert parse(make_prepared(name="without", mattes=False)).metadata["matte_filenames"] is None


def test_each_photograph_owns_the_row_of_its_place(make_prepared):
    outputs = parse(make_prepared())
    assert outputs.cameras.metadata["cam_idx"].tolist() == [[0], [1], [2], [3]]
    assert outputs.metadata["num_identities"] == 4
    assert outputs.metadata["training_images"].tolist() == [0, 1, 2, 3]


def test_photographs_of_one_identity_share_its_row(make_prepared):
    outputs = parse(make_prepared(identities=[7, 90, 7, 8]))
    rows_of_files = dict(
        zip(
            [name.name for name in outputs.image_filenames],
            outputs.cameras.metadata["cam_idx"].flatten().tolist(),
            strict=True,
        )
    )
    assert rows_of_files == {"0000.png": 0, "0001.png": 2, "0002.png": 0, "0003.png": 1}
    assert outputs.metadata["num_identities"] == 3


@pytest.mark.parametrize("identities", [["ann", 1, 2, 3], ["ann", "bob", None, "eve"]])
def test_identities_of_mixed_kinds_are_refused(make_prepared, identities):
    with pytest.raises(UsageError, match='"identity"'):
        parse(make_prepared(identities=identities))


def test_frames_come_in_the_order_of_their_rows_whatever_their_names(make_prepared):
    folder = make_prepared([(8, 8), (9, 9), (10, 10)], identities=[0, 1, 2])

    def rename(transforms):
        # By name, photograph 10000 comes before photograph 9999.
        for frame, name in zip(transforms["frames"], ["9998", "9999", "10000"], strict=True):
            for key in ("file_path", "mask_path"):
                new = f"{frame[key].split('/')[0]}/{name}.png"
                (folder / frame[key]).rename(folder / new)
                frame[key] = new

    rewrite(folder, rename)
    outputs = parse(folder)
    assert [name.stem for name in outputs.image_filenames] == ["9998", "9999", "10000"]
    assert [name.stem for name in outputs.metadata["matte_filenames"]] == ["9998", "9999", "10000"]
    assert outputs.cameras.width.flatten().tolist() == [8, 9, 10]
    assert outputs.cameras.metadata["cam_idx"].flatten().tolist() == [0, 1, 2]


def test_without_eval_fraction_evaluation_sees_what_trains(make_prepared):
    folder = make_prepared()
    train, val, test = (parse(folder, split) for split in ("train", "val", "test"))
    assert train.image_filenames == val.image_filenames == test.image_filenames


def test_eval_fraction_sets_photographs_aside_evenly_and_keeps_their_rows(make_prepared):
    folder = make_prepared([(8, 8)] * 8)
    train, val = (parse(folder, split, eval_fraction=0.25) for split in ("train", "val"))
    assert len(train.image_filenames) == 8
    assert train.metadata["training_images"].tolist() == [0, 1, 3, 4, 5, 7]
    assert [name.stem for name in val.image_filenames] == ["0002", "0006"]
    assert val.cameras.metadata["cam_idx"].flatten().tolist() == [2, 6]
    assert [name.stem for name in val.metadata["matte_filenames"]] == ["0002", "0006"]
    assert val.metadata["num_identities"] == train.metadata["num_identities"] == 8


@pytest.mark.parametrize("count", [1, 2, 7, 100])
@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 0.99])
def test_evenly_spread_numbers_differ_lie_within_and_leave_some(count, fraction):
    chosen = evenly_spread(count, fraction)
    assert len(set(chosen.tolist())) == len(chosen) <= count - 1
    assert all(0 <= number < count for number in chosen)
    assert (len(chosen) == 0) == (fraction == 0 or count == 1)
    gaps = np.diff(chosen)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_downscale_factor_scales_cameras_and_needs_no_smaller_files(make_prepared):
    full, half = (parse(make_prepared(name=f"at_{by}"), downscale_factor=by) for by in (None, 2.0))
    assert half.cameras.width.flatten().tolist() == [6] * 4
    for name in ("fx", "fy", "cx", "cy"):
        torch.testing.assert_close(getattr(half.cameras, name), getattr(full.cameras, name) / 2)
    assert [name.name for name in half.image_filenames] == [name.name for name in full.image_filenames]
    assert all(name.exists() for name in half.image_filenames)


def test_select_frames_keeps_what_belongs_together(make_prepared):
    outputs = parse(make_prepared([(8, 8), (9, 9), (10, 10)]))
    selected = select_frames(outputs, np.array([2, 0]))
    assert [name.stem for name in selected.image_filenames] == ["0002", "0000"]
    assert selected.cameras.width.flatten().tolist() == [10, 8]
    assert selected.cameras.metadata["cam_idx"].flatten().tolist() == [2, 0]
    assert len(outputs.image_filenames) == 3


def test_a_prepared_folder_or_its_json_is_read_where_it_is(make_prepared):
    folder = make_prepared()
    assert find_prepared(folder) == folder
    assert find_prepared(folder / "transforms.json") == folder / "transforms.json"
    by_file = parse(folder / "transforms.json")
    assert by_file.image_filenames == parse(folder).image_filenames


@pytest.mark.parametrize("name", ["nothing", "nothing.json"])
def test_data_that_is_not_there_is_named(tmp_path, name):
    with pytest.raises(UsageError, match=f"/{name}: .*--data"):
        parse(tmp_path / name)


def no_frames(transforms):
    transforms["frames"] = []


def no_focal_length(transforms):
    del transforms["frames"][2]["fl_x"]


def no_matrix(transforms):
    del transforms["frames"][1]["transform_matrix"]


def ragged_matrix(transforms):
    transforms["frames"][1]["transform_matrix"] = [[1, 0, 0, 0], [0, 1]]


def infinite_matrix(transforms):
    transforms["frames"][1]["transform_matrix"][0][3] = math.inf


def singular_matrix(transforms):
    transforms["frames"][1]["transform_matrix"][0][:3] = [0, 0, 0]


def left_handed_matrix(transforms):
    row = transforms["frames"][1]["transform_matrix"][1]
    row[:3] = [-value for value in row[:3]]


def sheared_matrix(transforms):
    transforms["frames"][1]["transform_matrix"][0][1] += 0.1


def no_focal_length_at_all(transforms):
    transforms["frames"][3]["fl_y"] = 0


def negative_focal_length(transforms):
    transforms["frames"][3]["fl_x"] = -20.0


def text_for_a_number(transforms):
    transforms["frames"][3]["cx"] = "6"


def empty_image(transforms):
    transforms["frames"][3]["w"] = 0


def some_mattes(transforms):
    del transforms["frames"][0]["mask_path"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (no_frames, '"frames"'),
        (no_focal_length, 'images/0002.png.*"fl_x"'),
        (no_matrix, 'images/0001.png.*"transform_matrix"'),
        (ragged_matrix, "images/0001.png: .*4 × 4"),
        (infinite_matrix, "images/0001.png: .*finite"),
        (singular_matrix, "images/0001.png: .*singular"),
        (left_handed_matrix, "images/0001.png: .*left-handed"),
        (sheared_matrix, "images/0001.png: .*orthonormal"),
        (no_focal_length_at_all, "images/0003.png: .*25.2, 0"),
        (negative_focal_length, "images/0003.png: .*-20"),
        (text_for_a_number, "images/0003.png: \"cx\".*'6'"),
        (empty_image, r"images/0003.png: w, .*\[0\.0"),
        (some_mattes, '"mask_path"'),
    ],
)
def test_a_broken_transforms_json_is_named_with_what_it_lacks(make_prepared, change, named):
    folder = make_prepared()
    rewrite(folder, change)
    with pytest.raises(UsageError, match=named) as error:
        parse(folder)
    assert str(folder / "transforms.json") in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", '{"frames": [', "[]", '"frames"'])
def test_a_transforms_json_that_is_cut_off_is_named(make_prepared, text):
    folder = make_prepared()
    (folder / "transforms.json").write_text(text)
    with pytest.raises(UsageError, match=r"transforms\.json"):
        parse(folder)


@pytest.mark.parametrize("fraction", [-0.1, 1.0])
def test_an_eval_fraction_outside_0_and_1_is_refused(make_prepared, fraction):
    with pytest.raises(UsageError, match="eval-fraction"):
        parse(make_prepared(), eval_fraction=fraction)


@pytest.mark.parametrize(("size", "factor"), [(None, 1), (64, 2), (33, 4), (200, 1)])
def test_a_method_trains_at_its_own_size_unless_asked_otherwise(make_prepared, size, factor):
    folder = make_prepared([(128, 96)] * 3)
    cameras = parse(folder, training_size=size).cameras
    assert (int(cameras.width[0]), int(cameras.height[0])) == (128 // factor, 96 // factor)
    asked = parse(folder, training_size=size, downscale_factor=1.0).cameras
    assert int(asked.width[0]) == 128
