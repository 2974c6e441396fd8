"""`prepare` on real photographs: scikit-image's bundled astronaut in many disguises, and unusable files."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfgen_ns.cameras.projection import Cameras, project
from nerfgen_ns.dataset_format.columns import open_landmarks
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.preprocessing import prepare as prepare_module
from nerfgen_ns.preprocessing.camera_fitting.canonical_model import CanonicalModel
from nerfgen_ns.preprocessing.prepare import PrepareConfig, prepare
from tests.helpers.real_face import astronaut

SHARED = Path(__file__).resolve().parents[2] / "../shared/data"


@pytest.fixture(scope="module", name="astronaut")
def picture_of_the_astronaut():
    return Image.fromarray(astronaut())


@pytest.fixture(scope="module")
def photographs(astronaut, tmp_path_factory):
    """Usable and unusable files; the usable ones are named after what is odd about them."""
    folder = tmp_path_factory.mktemp("photographs")
    astronaut.save(folder / "same stem.jpg")
    astronaut.save(folder / "same stem.png")
    astronaut.convert("L").rotate(8).save(folder / "gray.jpg")
    astronaut.convert("CMYK").save(folder / "größe 写真.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    astronaut.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpg", exif=exif)
    astronaut.crop((80, 0, 380, 300)).resize((90, 90)).convert("RGBA").save(folder / "small.png")
    pair = Image.new("RGB", (760, 512), "white")
    pair.paste(astronaut, (0, 0))
    pair.paste(astronaut.crop((120, 20, 320, 320)), (540, 60))
    pair.save(folder / "two faces.png")
    (folder / "text.jpg").write_text("no image")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("RGB", (300, 300), "gray").save(folder / "nobody.jpg")
    whole = (folder / "same stem.jpg").read_bytes()
    (folder / "torn.jpg").write_bytes(whole[:9000])
    (folder / "notes.txt").write_text("passed over")
    return folder


@pytest.fixture(scope="module")
def prepared(photographs, tmp_path_factory):
    output = tmp_path_factory.mktemp("prepared") / "out"
    before = sorted(path.name for path in photographs.iterdir())
    report = prepare(PrepareConfig(data=photographs, output_dir=output, size=128, workers=1))
    assert sorted(path.name for path in photographs.iterdir()) == before, "photographs are not touched"
    return output, report


def frames_of(folder):
    return json.loads((folder / "transforms.json").read_text())["frames"]


def test_every_usable_photograph_is_accepted_under_a_name_of_its_own(prepared):
    output, report = prepared
    frames = frames_of(output)
    sources = {"same stem.jpg", "same stem.png", "gray.jpg", "größe 写真.jpg", "turned.jpg", "small.png"}
    assert {frame["source"] for frame in frames} == sources | {"two faces.png"}
    assert report.accepted == len(frames) == len({frame["file_path"] for frame in frames}) == 7


def test_every_unusable_file_is_reported_with_reason_and_mend(prepared):
    output, report = prepared
    reasons = {rejection.source: rejection.reason for rejection in report.rejected}
    assert set(reasons) == {"text.jpg", "dot.png", "nobody.jpg", "torn.jpg"}
    assert "no face" in reasons["nobody.jpg"] and "not an image" in reasons["text.jpg"]
    assert all(rejection.mend for rejection in report.rejected)
    written = json.loads((output / "report.json").read_text())
    assert written["accepted"] == 7
    assert {entry["source"]: entry["reason"] for entry in written["rejected"]} == reasons


def test_of_several_faces_the_largest_is_taken_and_noted(prepared):
    output, report = prepared
    assert any("2 faces" in note for note in report.notes["two faces.png"])
    crops = {frame["source"]: np.array(frame["photograph_to_crop"]) for frame in frames_of(output)}
    np.testing.assert_allclose(crops["two faces.png"], crops["same stem.png"], atol=3)


def test_the_prepared_folder_is_whole_and_consistent(prepared):
    output, _ = prepared
    model = CanonicalModel.from_dict(json.loads((output / "canonical_landmarks.json").read_text()))
    assert model.canonical.shape == (468, 3) and np.abs(model.canonical).max() < 1
    landmarks = open_landmarks(output)
    assert landmarks is not None and landmarks.shape == (7, 468, 2)
    for place, frame in enumerate(frames_of(output)):
        assert frame["identity"] == place
        with (
            Image.open(output / frame["file_path"]) as image,
            Image.open(output / frame["mask_path"]) as matte,
        ):
            assert (image.mode, image.size) == ("RGB", (128, 128))
            assert (matte.mode, matte.size) == ("L", (128, 128))
            values = np.asarray(matte)
        assert values[64, 64] > 200 and values[:8, :8].mean() < 60, "a head before a background"
        pose = np.array(frame["transform_matrix"])
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-6)
        assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
        assert 2 < np.linalg.norm(pose[:3, 3]) < 3.5 and pose[2, 3] > 0
        camera = Cameras.from_camera_to_world(
            pose[None], np.array([frame["fl_x"]]), np.array([[frame["cx"], frame["cy"]]])
        )
        (points,) = model.shapes(np.array([frame["coefficients"]]))
        distances = np.linalg.norm(project(camera, points)[0] - landmarks[place], axis=1)
        rmse = np.sqrt((distances**2).mean())
        assert rmse == pytest.approx(frame["reprojection_rmse"], abs=0.01) and rmse < 2.5
    hidden = sorted(path.name for path in output.glob(".prepare/*"))
    assert hidden == ["kept", "lock"], "nothing is left of the work but what saves doing it again"
    assert not list((output / ".prepare/kept").glob("*.png")), "no image is kept twice"


def test_a_turned_photograph_gives_the_same_crop(prepared):
    output, _ = prepared
    images = {
        frame["source"]: np.asarray(Image.open(output / frame["file_path"])).astype(float)
        for frame in frames_of(output)
    }
    assert np.abs(images["turned.jpg"] - images["same stem.png"]).mean() < 6


def test_preparing_again_reuses_and_a_changed_option_does_not(photographs, prepared, tmp_path, monkeypatch):
    output, first = prepared
    calls = []
    original = prepare_module._fit
    monkeypatch.setattr(prepare_module, "_fit", lambda *a: calls.append(a) or original(*a))
    again = prepare(PrepareConfig(data=photographs, output_dir=output, size=128, workers=1))
    assert again == first and not calls
    copy = tmp_path / "copy"
    shutil.copytree(output, copy)
    prepare(PrepareConfig(data=photographs, output_dir=copy, size=128, focal=3.0, workers=1))
    assert calls and frames_of(copy)[0]["fl_x"] == pytest.approx(3.0 * 128)
    assert frames_of(output)[0]["fl_x"] == pytest.approx(2.1 * 128)


def test_an_interrupted_run_goes_on_and_gives_the_same(photographs, prepared, tmp_path, monkeypatch):
    from nerfgen_ns.preprocessing import single_photograph as capture

    whole, _ = prepared
    output = tmp_path / "out"
    config = PrepareConfig(data=photographs, output_dir=output, size=128, workers=1)
    original, done = capture._capture, []

    def interrupted(path, *rest):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(path.name)
        return original(path, *rest)

    monkeypatch.setattr(capture, "_capture", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(config)
    assert not (output / "transforms.json").exists()
    monkeypatch.setattr(
        capture, "_capture", lambda path, *rest: done.append(path.name) or original(path, *rest)
    )
    prepare(config)
    assert len(done) == len(set(done)) == 11, "every photograph is looked at once"
    for path in sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file()):
        assert (output / path).read_bytes() == (whole / path).read_bytes(), path


def test_a_new_photograph_is_fitted_into_a_class_that_exists(astronaut, prepared, tmp_path):
    output, _ = prepared
    (tmp_path / "new").mkdir()
    astronaut.save(tmp_path / "new/one.png")
    prepare(
        PrepareConfig(
            data=tmp_path / "new",
            output_dir=tmp_path / "out",
            size=128,
            workers=1,
            canonical_landmarks=output / "canonical_landmarks.json",
        )
    )
    (frame,) = frames_of(tmp_path / "out")
    known = next(frame for frame in frames_of(output) if frame["source"] == "same stem.png")
    np.testing.assert_allclose(frame["transform_matrix"], known["transform_matrix"], atol=1e-3)
    assert (tmp_path / "out/canonical_landmarks.json").exists()


def test_worker_processes_give_what_one_process_gives(photographs, prepared, tmp_path, monkeypatch):
    from nerfgen_ns.preprocessing import workers as capture_pool

    whole, _ = prepared
    monkeypatch.setattr(capture_pool, "TASKS_PER_WORKER", 4)
    prepare(PrepareConfig(data=photographs, output_dir=tmp_path / "out", size=128, workers=2))
    assert (tmp_path / "out/transforms.json").read_bytes() == (whole / "transforms.json").read_bytes()


def test_too_few_or_no_usable_photographs_is_an_error_that_says_so(photographs, tmp_path):
    data = tmp_path / "photographs"
    data.mkdir()
    shutil.copy(photographs / "text.jpg", data)
    config = PrepareConfig(data=data, output_dir=tmp_path / "out", workers=1)
    with pytest.raises(NerfgenError, match=r"/photographs: .*text\.jpg"):
        prepare(config)
    shutil.copy(photographs / "same stem.png", data)
    with pytest.raises(NerfgenError, match=r"/photographs: .* 1 .* 3"):
        prepare(config)
    assert not (tmp_path / "out/transforms.json").exists()


def test_wrong_calls_are_refused_before_any_work(photographs, tmp_path):
    for change, named in (
        ({"data": tmp_path / "nowhere"}, "nowhere"),
        ({"size": 3}, "--size 3"),
        ({"focal": 0.0}, "--focal 0"),
        ({"workers": 0}, "--workers 0"),
        ({"output_dir": photographs / "inside"}, "/inside: "),
        ({"output_dir": photographs.parent}, f"^{photographs.parent}: "),
        ({"canonical_landmarks": tmp_path / "none.json"}, "none.json"),
    ):
        config = PrepareConfig(**{"data": photographs, "output_dir": tmp_path / "out"} | change)
        with pytest.raises(UsageError, match=named):
            prepare(config)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_not_overwritten(photographs, tmp_path):
    (tmp_path / "out/images").mkdir(parents=True)
    (tmp_path / "out/images/mine.png").touch()
    with pytest.raises(UsageError, match=r"/out: .*images"):
        prepare(PrepareConfig(data=photographs, output_dir=tmp_path / "out"))
    assert (tmp_path / "out/images/mine.png").exists()


def test_an_output_that_cannot_be_written_is_one_clear_error(photographs, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NerfgenError, match="file/out: "):
        prepare(PrepareConfig(data=photographs, output_dir=tmp_path / "file" / "out"))
    if os.geteuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(NerfgenError, match="locked/out: "):
            prepare(PrepareConfig(data=photographs, output_dir=tmp_path / "locked" / "out"))


@pytest.mark.skipif(not (SHARED / "portraits").is_dir(), reason="shared/data/portraits is not here")
def test_portraits_are_accepted_with_small_errors(tmp_path):
    data = tmp_path / "some"
    data.mkdir()
    for path in sorted((SHARED / "portraits").glob("*.jpg"))[::40]:
        shutil.copy(path, data)
    report = prepare(PrepareConfig(data=data, output_dir=tmp_path / "out", workers=1))
    assert report.accepted == 20 and report.median_error < 0.016


@pytest.mark.skipif(not (SHARED / "heads/train").is_dir(), reason="shared/data/heads is not here")
def test_heads_get_cameras_near_the_true_ones(tmp_path):
    from scipy.spatial.transform import Rotation

    data = tmp_path / "some"
    data.mkdir()
    true = {}
    for frame in json.loads((SHARED / "heads/train/transforms.json").read_text())["frames"][::8]:
        shutil.copy(SHARED / "heads/train" / frame["file_path"], data)
        true[Path(frame["file_path"]).name] = np.array(frame["true_transform_matrix"])[:3, :3]
    prepare(PrepareConfig(data=data, output_dir=tmp_path / "out", workers=1))
    turns = []
    for frame in frames_of(tmp_path / "out"):
        linear = np.array(frame["photograph_to_crop"])[:, :2]
        roll = np.eye(3)
        roll[:2, :2] = linear / np.hypot(*linear[:, 0]) * [[1, -1], [-1, 1]]
        turns.append(true[frame["source"]] @ (np.array(frame["transform_matrix"])[:3, :3] @ roll).T)
    angles = np.degrees(Rotation.from_matrix(np.array(turns)).magnitude())
    assert len(angles) == 32 and np.median(angles) < 4, "without removing any gauge"
