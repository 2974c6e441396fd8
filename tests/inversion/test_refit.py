"""A prepared folder with the cameras that a run has learned."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfgen_ns.cameras.projection import Cameras, project
from nerfgen_ns.cameras.se3 import move_cameras, rotation_matrices
from nerfgen_ns.datamanagers.dataset import open_dataset
from nerfgen_ns.dataset_format.transforms import read_transforms
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.inversion.refit import files_to_copy, prepare_from_run
from nerfgen_ns.model.camera_optimizer import CameraOptimizer, CameraOptimizerConfig
from nerfgen_ns.utils.files import read_json
from tests.helpers.short_trainings import set_up, short_config

MOTION = torch.tensor([0.03, -0.05, 0.02, 0.01, -0.02, 0.04])


def train(data: Path, output_dir: Path, corrected: bool = True) -> Path:
    """The config.yml of a run whose cameras have moved by MOTION, the odd ones the other way."""
    config = short_config(data, output_dir, 1, small=True)
    config.pipeline.model.camera_optimizer.mode = "SO3xR3" if corrected else "off"
    config.save_config()
    trainer = set_up(config)
    if corrected:
        motions = trainer.pipeline.model.camera_optimizer.pose_deltas.weight
        motions.data.copy_(motions_of(len(motions)))
    trainer.save_checkpoint(0)
    return config.get_base_dir() / "config.yml"


def motions_of(count: int) -> torch.Tensor:
    return MOTION * (1 - 2 * (torch.arange(count) % 2))[:, None]


def matrices(folder: Path) -> np.ndarray:
    return np.array([frame["transform_matrix"] for frame in read_json(folder / "transforms.json")["frames"]])


def moved(cameras: np.ndarray) -> np.ndarray:
    correction = CameraOptimizer(CameraOptimizerConfig(), len(cameras))
    correction.pose_deltas.weight.data.copy_(motions_of(len(cameras)))
    result = cameras.copy()
    result[:, :3] = correction.move_cameras(torch.from_numpy(cameras[:, :3])).numpy()
    return result


def with_landmarks(folder: Path) -> None:
    """Landmarks of five points as the moved cameras see them, every frame of a shape of its own."""
    random = np.random.default_rng(0)
    mean, basis = random.normal(size=(5, 3)) * 0.3, random.normal(size=(2, 5, 3)) * 0.05
    transforms = read_json(folder / "transforms.json")
    landmarks = []
    for frame, camera in zip(transforms["frames"], moved(matrices(folder)), strict=True):
        frame["fl_y"] = frame["fl_x"]
        frame["coefficients"] = random.normal(size=2).tolist()
        frame["reprojection_rmse"] = 1.0
        seen = Cameras.from_camera_to_world(
            camera[None], np.array([frame["fl_x"]]), np.array([[frame["cx"], frame["cy"]]])
        )
        landmarks.append(project(seen, mean + np.tensordot(frame["coefficients"], basis, axes=1))[0])
    np.save(folder / "landmarks.npy", np.array(landmarks, dtype=np.float32))
    canonical = {"landmarks": mean.tolist(), "basis": basis.tolist()}
    (folder / "canonical_landmarks.json").write_text(json.dumps(canonical))
    (folder / "transforms.json").write_text(json.dumps({**transforms, "landmarks_path": "landmarks.npy"}))


def test_the_folder_has_the_run_s_cameras_and_the_same_photographs(make_prepared, tmp_path):
    # Twelve frames, whose names sort otherwise than their rows, and two photographs of one identity.
    data = make_prepared([(24, 24)] * 12, identities=[*range(11, 0, -1), 1])
    with_landmarks(data)
    output = tmp_path / "refined"
    result = prepare_from_run(train(data, tmp_path / "out"), output)
    assert not result.refitted
    frames = read_json(output / "transforms.json")["frames"]
    order = np.argsort([frame["identity"] for frame in frames], kind="stable")
    np.testing.assert_allclose(matrices(output)[order], moved(matrices(data)[order]), atol=1e-5)
    turn = float(MOTION[:3].norm().rad2deg())
    np.testing.assert_allclose(result.change, turn, rtol=1e-3)
    assert all(frame["pose_change"] == pytest.approx(turn, rel=1e-3) for frame in frames)
    for frame in frames:
        for key in ("file_path", "mask_path"):
            assert (output / frame[key]).read_bytes() == (data / frame[key]).read_bytes()
    report = read_json(output / "report.json")["from_run"]
    assert report["pose_change"]["median"] == pytest.approx(turn, rel=1e-3)


def test_reprojection_errors_are_those_of_the_new_cameras(make_prepared, tmp_path):
    data = make_prepared([(24, 24)] * 4)
    with_landmarks(data)
    result = prepare_from_run(train(data, tmp_path / "out"), tmp_path / "refined")
    assert result.error_before == 1.0
    assert result.error_after == pytest.approx(0.0, abs=1e-3)
    frames = read_json(tmp_path / "refined" / "transforms.json")["frames"]
    assert max(frame["reprojection_rmse"] for frame in frames) < 1e-3


def test_a_folder_without_landmarks_will_do_and_an_earlier_one_is_replaced(make_prepared, tmp_path):
    data = make_prepared([(24, 24)] * 4)
    config, output = train(data, tmp_path / "out"), tmp_path / "refined"
    for _ in range(2):
        result = prepare_from_run(config, output)
        assert result.error_before is result.error_after is None
        (output / "images" / "0000.png").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "prepared", "refined"]


def test_what_something_else_made_is_left_alone(make_prepared, tmp_path):
    data = make_prepared([(24, 24)] * 4)
    config = train(data, tmp_path / "out")
    output = tmp_path / "refined"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="/refined: "):
        prepare_from_run(config, output)
    assert [path.name for path in output.iterdir()] == ["notes.txt"]
    with pytest.raises(UsageError, match=r"/prepared: .*/prepared"):
        prepare_from_run(config, data)


def test_the_cameras_of_a_run_that_kept_them_are_found_anew(make_prepared, tmp_path, monkeypatch):
    data = make_prepared([(24, 24)] * 12, identities=[*range(11, 0, -1), 1])
    config, told = train(data, tmp_path / "out", corrected=False), []
    before = matrices(data)

    def turned(run, progress):
        """Each camera turned by as many degrees as its photograph's file is numbered."""
        dataset = open_dataset(run.data)
        numbers = [int(path.stem) for path in dataset.image_filenames]
        turns = torch.deg2rad(torch.tensor([[0.0, 0.0, float(number)] for number in numbers]))
        motions = torch.cat([rotation_matrices(turns), torch.zeros(len(numbers), 3, 1)], dim=-1).double()
        told.append(progress)
        return list(map(str, dataset.image_filenames)), move_cameras(
            dataset.cameras.camera_to_worlds.double(), motions
        )

    monkeypatch.setattr("nerfgen_ns.inversion.refit.refit_cameras", turned)
    result = prepare_from_run(config, tmp_path / "refined")
    assert result.refitted
    assert len(told) == 1
    np.testing.assert_allclose(result.change, np.arange(12), atol=0.05)
    after = matrices(tmp_path / "refined")
    np.testing.assert_allclose(after[0], before[0], atol=1e-6)
    report = read_json(tmp_path / "refined" / "report.json")["from_run"]
    assert report["refitted"] is True


def test_data_that_has_changed_since_is_refused(make_prepared, tmp_path):
    data = make_prepared([(24, 24)] * 4)
    config = train(data, tmp_path / "out")
    transforms = read_json(data / "transforms.json")
    transforms["frames"].pop()
    (data / "transforms.json").write_text(json.dumps(transforms))
    with pytest.raises(UsageError, match=r"transforms\.json: .*\b4\b.*\(3\)"):
        prepare_from_run(config, tmp_path / "refined")


def test_the_files_of_a_frame_are_those_of_the_folder(make_prepared, tmp_path):
    data = make_prepared([(24, 24)] * 2)
    with_landmarks(data)
    transforms = read_json(data / "transforms.json")
    transforms["frames"][0]["file_path"] = "./images/0000.png"
    expected = {f"{folder}/000{number}.png" for folder in ("images", "mattes") for number in (0, 1)}
    expected |= {"landmarks.npy", "canonical_landmarks.json"}
    (data / "transforms.json").write_text(json.dumps(transforms))
    assert set(files_to_copy(read_transforms(data))) == expected


def test_a_foreign_name_overwrites_nothing_outside(make_prepared, tmp_path):
    data = make_prepared([(24, 24)] * 2)
    outside = tmp_path / "out.png"
    outside.write_bytes((data / "images/0000.png").read_bytes())
    transforms = read_json(data / "transforms.json")
    transforms["frames"][0]["file_path"] = "../out.png"
    (data / "transforms.json").write_text(json.dumps(transforms))
    before = outside.read_bytes()
    with pytest.raises(UsageError, match=r"frame 0: .*\.\./out\.png"):
        prepare_from_run(train(data, tmp_path / "runs"), tmp_path / "refined")
    assert outside.read_bytes() == before
    assert not (tmp_path / "refined").exists()


def test_a_frame_that_names_the_list_itself_leaves_it_as_it_is(make_prepared, tmp_path):
    data = make_prepared([(24, 24)] * 2)
    transforms = read_json(data / "transforms.json")
    transforms["frames"][0]["depth_path"] = "transforms.json"
    (data / "transforms.json").write_text(json.dumps(transforms))
    before = (data / "transforms.json").read_bytes()
    prepare_from_run(train(data, tmp_path / "runs"), tmp_path / "refined")
    assert (data / "transforms.json").read_bytes() == before


def test_the_former_folder_stays_when_the_new_one_cannot_take_its_place(make_prepared, tmp_path, monkeypatch):
    data = make_prepared([(24, 24)] * 4)
    config, output = train(data, tmp_path / "out"), tmp_path / "refined"
    prepare_from_run(config, output)
    before = (output / "report.json").read_bytes()
    rename = Path.rename

    def fails(self, target):
        if self.name == "made":
            raise OSError(16, "Device or resource busy")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(NerfgenError, match="/refined: "):
        prepare_from_run(config, output)
    assert (output / "report.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "prepared", "refined"]
