"""Which photographs a fit takes, and what it says of those that it cannot."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.inversion.config import FitConfig
from nerfgen_ns.inversion.inputs import gather, read_photographs, write_folder
from nerfgen_ns.preprocessing.landmarks.models import LANDMARK_COUNT
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.runs.run import Run
from tests.helpers.prepared_contents import record_of
from tests.helpers.real_face import astronaut

SEARCHED = FitConfig(search_cameras=True)


@pytest.fixture
def run(trained_config: Path) -> Run:
    """A run of a class without landmarks."""
    return load_run(trained_config)


@pytest.fixture
def run_with_landmarks(run: Run, heads: Path, tmp_path: Path) -> Run:
    """A run of a class whose photographs have landmarks."""
    data = tmp_path / "trained on"
    shutil.copytree(heads, data)
    points = np.random.default_rng(0).normal(size=(LANDMARK_COUNT, 3))
    landmarks = {"class_name": "faces", "focal": 2.1, "landmarks": points.tolist()}
    (data / "canonical_landmarks.json").write_text(json.dumps(landmarks))
    return replace(run, record=record_of(data))


def write_noise(path: Path, mode: str = "RGB") -> None:
    shape = (64, 48, len(mode))
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).integers(1, 255, shape, dtype=np.uint8)
    Image.fromarray(values, mode=mode).save(path)


def with_roles(heads: Path, folder: Path, roles: list[str]) -> Path:
    shutil.copytree(heads, folder)
    transforms = json.loads((folder / "transforms.json").read_text())
    for frame, role in zip(transforms["frames"], roles, strict=True):
        frame["role"] = role
    (folder / "transforms.json").write_text(json.dumps(transforms))
    return folder


def test_of_a_folder_with_roles_only_the_queries_are_fitted(run: Run, heads: Path, tmp_path: Path) -> None:
    folder = with_roles(heads, tmp_path / "test", ["target", "query", "query"])
    gathered = gather([folder], run, FitConfig(), tmp_path / "work")
    assert [photograph.identity for photograph in gathered.photographs] == [0, 1]
    assert len(gather([heads], run, FitConfig(), tmp_path / "work").photographs) == 3


def test_a_folder_survives_being_read_and_written(heads: Path, tmp_path: Path) -> None:
    photographs = read_photographs(heads / "transforms.json")
    write_folder(photographs, tmp_path / "copy", None)
    again = read_photographs(tmp_path / "copy" / "transforms.json")
    cameras = [[one.frame.same_camera("").to_json() for one in some] for some in (photographs, again)]
    assert cameras[0] == cameras[1] and len(cameras[0]) == 3
    assert [photograph.name for photograph in again] == [photograph.name for photograph in photographs]
    for photograph, copied in zip(photographs, again, strict=True):
        assert photograph.image.read_bytes() == copied.image.read_bytes()
        assert (photograph.matte is None) == (copied.matte is None)


def test_photographs_of_one_object_have_one_identity(run: Run, heads: Path, tmp_path: Path) -> None:
    gathered = gather([heads], run, FitConfig(one_object=True), tmp_path)
    assert {photograph.identity for photograph in gathered.photographs} == {0}


def test_a_file_that_the_folder_names_but_does_not_hold_is_named(
    run: Run, heads: Path, tmp_path: Path
) -> None:
    folder = with_roles(heads, tmp_path / "test", ["query"] * 3)
    missing = folder / json.loads((folder / "transforms.json").read_text())["frames"][1]["file_path"]
    missing.unlink()
    with pytest.raises(UsageError, match=f"{missing.name}: "):
        gather([folder], run, FitConfig(), tmp_path / "work")


def test_what_does_not_exist_and_what_holds_no_photograph_is_said(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.png: "):
        gather([tmp_path / "missing.png"], run, FitConfig(), tmp_path / "work")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty: "):
        gather([tmp_path / "empty"], run, FitConfig(), tmp_path / "work")


def test_a_photograph_with_no_object_is_refused_with_the_mend(
    run_with_landmarks: Run, tmp_path: Path
) -> None:
    write_noise(tmp_path / "noise.png")
    with pytest.raises(NerfgenError, match=r"noise\.png: .*--search-cameras") as caught:
        gather([tmp_path / "noise.png"], run_with_landmarks, FitConfig(), tmp_path / "work")
    assert str(tmp_path / "work") not in str(caught.value)


def test_of_a_class_without_landmarks_photographs_are_taken_whole_with_their_alpha(
    run: Run, tmp_path: Path
) -> None:
    write_noise(tmp_path / "a" / "cup.png", "RGBA")
    write_noise(tmp_path / "b" / "cup.png", "RGBA")
    (tmp_path / "b" / "torn.png").write_bytes(b"no image")
    images = [tmp_path / "a" / "cup.png", tmp_path / "b"]
    with pytest.raises(UsageError, match=r"cup-1\.png, cup\.png: .*--search-cameras.*torn\.png: "):
        gather(images, run, FitConfig(), tmp_path / "refused")
    gathered = gather(images, run, SEARCHED, tmp_path / "work")
    assert [photograph.searched for photograph in gathered.photographs] == [True, True]
    assert [photograph.identity for photograph in gathered.photographs] == [0, 1]
    assert {photograph.frame.w for photograph in gathered.photographs} == {32}
    assert [rejection.source for rejection in gathered.rejected] == ["torn.png"]
    with Image.open(gathered.photographs[0].image) as image:
        assert image.size == (32, 32)
    write_noise(tmp_path / "c" / "opaque.png")
    opaque = gather([tmp_path / "c"], run, SEARCHED, tmp_path / "more work").photographs
    assert opaque[0].matte is None


def test_where_every_photograph_is_damaged_the_first_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(b"no image")
    with pytest.raises(NerfgenError, match=r"torn\.png: "):
        gather([tmp_path / "torn.png"], run, SEARCHED, tmp_path / "work")


def test_every_path_is_used_rejected_or_left_out_by_name(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    write_noise(folder / "one.png")
    write_noise(folder / "below" / "two.png")
    (folder / "notes.txt").write_text("who is who")
    write_noise(tmp_path / "three.jfif.png")
    (tmp_path / "three.jfif.png").rename(tmp_path / "no suffix")
    write_noise(tmp_path / ".hidden.png")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "circle.jpg").symlink_to(tmp_path / "circle.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "letter.txt").write_text("no image")
    (tmp_path / "shot.nef").write_bytes(b"MM\0*" + bytes(200))
    names = (
        "no suffix",
        ".hidden.png",
        "gone.jpg",
        "circle.jpg",
        "pipe.jpg",
        "pipe",
        "letter.txt",
        "shot.nef",
    )
    images = [folder, folder / "one.png", *(tmp_path / name for name in names)]
    gathered = gather(images, run, SEARCHED, tmp_path / "work")
    assert sorted(photograph.name for photograph in gathered.photographs) == [
        "hidden.png", "no suffix", "one-1.png", "one.png",
    ]  # fmt: skip
    reasons = {rejection.source: rejection.reason for rejection in gathered.rejected}
    assert set(reasons) == {"gone.jpg", "circle.jpg", "pipe.jpg", "pipe", "letter.txt", "shot.nef"}
    assert "nowhere.jpg" in reasons["gone.jpg"] and "raw" in reasons["shot.nef"]
    left = {Path(entry.source).name: entry for entry in gathered.left_out}
    assert set(left) == {"below", "notes.txt"} and "1 photograph" in left["below"].reason
    assert "--images" in left["below"].mend
    with pytest.raises(UsageError, match=r"--images letter\.txt, pipe: "):
        gather([tmp_path / "letter.txt", tmp_path / "pipe"], run, SEARCHED, tmp_path / "none")
    with pytest.raises(UsageError, match=r"shot\.nef: .*letter\.txt: ") as caught:
        gather([tmp_path / "shot.nef", tmp_path / "letter.txt"], run, SEARCHED, tmp_path / "raw")
    assert str(tmp_path) not in str(caught.value)
    (folder / "one.nef").write_bytes(b"MM\0*" + bytes(200))
    beside = gather([folder / "one.png", folder / "one.nef"], run, SEARCHED, tmp_path / "beside")
    assert [entry.source for entry in beside.left_out] == ["one.nef"]


def test_a_photograph_without_a_face_is_searched_only_when_asked(
    run_with_landmarks: Run, tmp_path: Path
) -> None:
    write_noise(tmp_path / "noise.png")
    (tmp_path / "torn.png").write_bytes(b"no image")
    Image.fromarray(astronaut()).save(tmp_path / "face.png")
    images = [tmp_path / name for name in ("noise.png", "torn.png", "face.png")]
    with pytest.raises(NerfgenError, match=r"noise\.png: .*--search-cameras") as caught:
        gather(images[:2], run_with_landmarks, FitConfig(), tmp_path / "refused")
    assert "torn.png" in str(caught.value) and str(tmp_path) not in str(caught.value)
    gathered = gather(images[:1], run_with_landmarks, SEARCHED, tmp_path / "searched")
    assert [photograph.searched for photograph in gathered.photographs] == [True]
