"""What a run keeps of its photographs, and what tells them from others."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nerfgen_ns.datamanagers.data_manager import NerfgenDataManagerConfig
from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig
from nerfgen_ns.datamanagers.data_record import (
    RECORD,
    Fingerprint,
    fingerprint_of,
    read_record,
    write_record,
)
from nerfgen_ns.datamanagers.dataset import GRAY, NerfgenDataset
from nerfgen_ns.errors import NerfgenError, UsageError

SIZES = [(16, 16), (24, 12), (16, 16), (12, 24)]


def dataset_of(folder: Path, **options) -> NerfgenDataset:
    parser = NerfgenDataParserConfig(data=folder, **options).setup()
    return NerfgenDataset(parser.get_dataparser_outputs("train"))


def keep(data: Path, run: Path) -> None:
    """Write the record of a run on this data."""
    run.mkdir(parents=True)
    parser = NerfgenDataParserConfig(data=data).setup()
    write_record(run, parser.record, fingerprint_of(NerfgenDataset(parser.get_dataparser_outputs("train"))))


@pytest.fixture
def data(make_prepared) -> Path:
    folder = make_prepared(SIZES, identities=[5, 9, 7, 5])
    transforms = json.loads((folder / "transforms.json").read_text())
    for number, frame in enumerate(transforms["frames"]):
        frame["source"] = f"Zoë {number}.jpg"
    (folder / "transforms.json").write_text(json.dumps({**transforms, "class_name": "faces"}))
    (folder / "canonical_landmarks.json").write_text("{}")
    return folder


@pytest.mark.parametrize("factor", [None, 2])
@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("fraction", [0.0, 0.5])
def test_a_run_that_is_opened_has_the_cameras_that_it_was_trained_on(data, tmp_path, factor, split, fraction):
    keep(data, tmp_path / "run")
    options = {"downscale_factor": factor, "eval_fraction": fraction, "data": data}
    read = NerfgenDataParserConfig(**options).setup().get_dataparser_outputs(split)
    shutil.move(data, tmp_path / "gone")
    kept = NerfgenDataParserConfig(**options, run_dir=tmp_path / "run").setup().get_dataparser_outputs(split)
    for name in ("camera_to_worlds", "fx", "fy", "cx", "cy", "width", "height", "distortion_params"):
        torch.testing.assert_close(getattr(kept.cameras, name), getattr(read.cameras, name))
    assert torch.equal(kept.cameras.metadata["cam_idx"], read.cameras.metadata["cam_idx"])
    assert torch.equal(kept.cameras.camera_type, read.cameras.camera_type)
    assert torch.equal(kept.scene_box.aabb, read.scene_box.aabb)
    assert kept.metadata["num_identities"] == read.metadata["num_identities"] == 3
    assert kept.image_filenames == read.image_filenames
    assert kept.metadata["matte_filenames"] == read.metadata["matte_filenames"]
    assert len(kept.metadata["digests"]) == len(kept.image_filenames)


def test_names_identities_and_landmarks_are_kept(data, tmp_path):
    keep(data, tmp_path / "run")
    record = read_record(tmp_path / "run")
    assert record is not None
    assert record.sources == ["Zoë 0.jpg", "Zoë 3.jpg", "Zoë 2.jpg", "Zoë 1.jpg"]
    assert record.row_of_identity == {5: 0, 7: 1, 9: 2}
    assert record.class_name == "faces"
    assert record.canonical_landmarks == json.loads((data / "canonical_landmarks.json").read_text())
    assert (tmp_path / "run" / "canonical_landmarks.json").is_file()


def test_photographs_are_found_beside_the_run_when_both_have_moved_and_else_where_they_were(data, tmp_path):
    keep(data, tmp_path / "outputs" / "run")
    (tmp_path / "new").mkdir()
    shutil.copytree(tmp_path / "outputs", tmp_path / "alone" / "deep" / "outputs")
    for name in ("outputs", "prepared"):
        shutil.copytree(tmp_path / name, tmp_path / "new" / name)
    places = {run: read_record(tmp_path / run).data for run in ("new/outputs/run", "alone/deep/outputs/run")}
    assert places["new/outputs/run"] == tmp_path / "new" / "prepared"
    assert places["alone/deep/outputs/run"] == data


def test_a_record_that_is_cut_off_is_named(data, tmp_path):
    keep(data, tmp_path / "run")
    path = tmp_path / "run" / RECORD
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(NerfgenError, match=f"{RECORD}: "):
        read_record(tmp_path / "run")
    with pytest.raises(UsageError, match=RECORD):
        read_record(tmp_path)


def test_photographs_that_are_gone_or_others_are_noticed(data, tmp_path):
    keep(data, tmp_path / "run")
    record = read_record(tmp_path / "run")
    record.check_photographs()
    Image.new("RGB", (24, 12)).save(data / "images/0001.png")
    with pytest.raises(UsageError, match=r"^1 .*4 .*0001\.png"):
        record.check_photographs()
    (data / "images/0002.png").unlink()
    with pytest.raises(UsageError, match=r"^2 .*4 .*0002\.png"):
        record.check_photographs()


def test_a_photograph_that_was_added_is_noticed(data, tmp_path):
    keep(data, tmp_path / "run")
    transforms = json.loads((data / "transforms.json").read_text())
    transforms["frames"].append({**transforms["frames"][0], "file_path": "images/new.png", "identity": 1})
    (data / "transforms.json").write_text(json.dumps(transforms))
    with pytest.raises(UsageError, match=r"transforms\.json: .*\b4\b.*\(5\)"):
        read_record(tmp_path / "run").check_photographs()


def test_gray_stands_in_for_photographs_that_are_gone(data, tmp_path, capsys):
    keep(data, tmp_path / "run")
    (data / "images/0001.png").unlink()
    config = NerfgenDataManagerConfig(
        data=data, dataparser=NerfgenDataParserConfig(run_dir=tmp_path / "run"), pixel_memory=0.0,
        pixel_folder=tmp_path / "pixels", train_num_rays_per_batch=24, eval_num_rays_per_batch=16,
    )  # fmt: skip
    manager = config.setup(test_mode="test")
    assert "1 of the 4 photographs" in " ".join(capsys.readouterr().out.split())
    gone = manager.train_dataset.image_filenames.index(data / "images/0001.png")
    assert np.all(manager.train_dataset.get_numpy_image(gone) == GRAY)
    assert manager.train_dataset.get_numpy_image(gone).shape == (12, 24, 3)
    rays, batch = manager.next_train(0)
    assert len(rays) == len(batch["image"]) == 24
    with pytest.raises(UsageError, match=r"0001\.png"):
        list(manager.fixed_indices_eval_dataloader)


def test_another_folder_is_read_for_a_run_with_the_run_s_identities(data, make_prepared, tmp_path):
    keep(data, tmp_path / "run")
    other = make_prepared([(8, 8)] * 2, name="other")
    outputs = NerfgenDataParserConfig(data=other, run_dir=tmp_path / "run").setup().get_dataparser_outputs()
    assert outputs.image_filenames == [other / "images/0000.png", other / "images/0001.png"]
    assert outputs.metadata["num_identities"] == 3


def smooth(seed: int, size: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC).resize((size, size))


def fingerprint_with(folder: Path, seeds: list[int], size: int = 64) -> Fingerprint:
    """The fingerprint of the folder with pictures of its own in the place of its images."""
    transforms = json.loads((folder / "transforms.json").read_text())
    for seed, frame in zip(seeds, transforms["frames"], strict=True):
        smooth(seed, size).save(folder / frame["file_path"])
        frame |= {"w": size, "h": size}
        frame.pop("mask_path", None)
    (folder / "transforms.json").write_text(json.dumps(transforms))
    return fingerprint_of(dataset_of(folder))


def test_other_photographs_are_told_from_the_same_ones_at_another_size(make_prepared):
    folder = make_prepared(identities=[3, 1, 2, 1])
    before = fingerprint_with(folder, [30, 10, 20, 11])
    kept = Fingerprint.of_tensors(before.tensors("x."), "x.")
    assert kept is not None and Fingerprint.of_tensors({}, "x.") is None
    assert fingerprint_with(folder, [30, 10, 20, 11]).rows_of_others(kept) == []
    assert fingerprint_with(folder, [30, 10, 20, 11], size=40).rows_of_others(kept) == []
    # Another photograph of the same object is no other object; a file of its own is there still.
    assert fingerprint_with(folder, [30, 10, 20, 12]).rows_of_others(kept) == []
    assert fingerprint_with(folder, [31, 10, 20, 11]).rows_of_others(kept) == [2]
    assert fingerprint_with(folder, [10, 30, 20, 30]).rows_of_others(kept) == [0, 2]
    assert fingerprint_with(folder, [1, 2, 3, 4], size=40).rows_of_others(kept) == [0, 1, 2]
