"""Faces of any size, turn and number in a photograph, and those whose landmarks cannot be trusted."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.spatial.transform import Rotation

from nerfgen_ns.preprocessing.crops import Crop, crop_photograph, principal_point, upright_crop
from nerfgen_ns.preprocessing.landmarks import mediapipe_models as face_search
from nerfgen_ns.preprocessing.landmarks.mediapipe_backends import Detection, FaceDetector
from nerfgen_ns.preprocessing.landmarks.mediapipe_models import FaceMesh, doubt, roll, turn_between
from nerfgen_ns.preprocessing.landmarks.models import CHIN, FACE_SIDES, FOREHEAD, face_width
from nerfgen_ns.preprocessing.mattes import MatteOptions
from nerfgen_ns.preprocessing.photographs import RejectedError
from nerfgen_ns.preprocessing.single_photograph import CapturePhotograph
from nerfgen_ns.preprocessing.store import CaptureFiles
from tests.helpers.real_face import astronaut, needs_bundled_models


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return np.ascontiguousarray(astronaut()[:460, 60:400])


@pytest.fixture(scope="module")
def model() -> FaceMesh:
    return FaceMesh()


@pytest.fixture(scope="module")
def clear(model, portrait) -> np.ndarray:
    landmarks, notes = model(portrait)
    assert notes == []
    return landmarks


def wide(portrait, width, place) -> Image.Image:
    """A photograph of 12 megapixels with the portrait at this width."""
    image = Image.new("RGB", (4000, 3000), (70, 90, 110))
    height = round(width * portrait.shape[0] / portrait.shape[1])
    image.paste(Image.fromarray(portrait).resize((width, height), Image.Resampling.LANCZOS), place)
    return image


def drawn(portrait, *shapes) -> np.ndarray:
    """The portrait with polygons of one color each over it."""
    image = Image.fromarray(portrait)
    for color, points in shapes:
        ImageDraw.Draw(image).polygon([tuple(point) for point in points], fill=color)
    return np.asarray(image)


@needs_bundled_models
@pytest.mark.parametrize(("width", "place"), [(330, (3300, 150)), (3200, (400, -600))])
def test_faces_of_any_size_are_found_in_12_megapixels(tmp_path, portrait, clear, width, place):
    wide(portrait, width, place).save(tmp_path / "a.png", compress_level=1)
    capture = CapturePhotograph(256, mattes=MatteOptions("none"))
    record = capture(tmp_path / "a.png", CaptureFiles(tmp_path / "crop.png", tmp_path / "matte.png"))
    crop = Crop(np.array(record["photograph_to_crop"]), 256)
    found = crop.to_photograph(record["landmarks"][:, :2])
    expected = clear[:, :2] * (width / portrait.shape[1]) + place
    apart = np.linalg.norm(found - expected, axis=1) / face_width(expected)
    assert np.median(apart) < 0.03
    # The crop is cut from the file's own pixels, as sharp as they are.
    with Image.open(tmp_path / "a.png") as image, Image.open(tmp_path / "crop.png") as cut:
        sharp = crop_photograph(np.asarray(image), crop).astype(int)
        assert np.abs(sharp - np.asarray(cut)).mean() < (1 if width == 330 else 4)


@needs_bundled_models
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_head_that_is_not_upright_is_turned_and_noted(model, portrait, clear, quarters):
    landmarks, notes = model(np.ascontiguousarray(np.rot90(portrait, quarters)))
    back = landmarks[:, :2]
    for turn in reversed(range(quarters)):
        # Undoes a turn by 90° counterclockwise of a picture with this width.
        width = portrait.shape[1 - turn % 2]
        back = np.column_stack([width - back[:, 1], back[:, 0]])
    apart = np.linalg.norm(back - clear[:, :2], axis=1) / face_width(clear[:, :2])
    assert np.median(apart) < 0.03
    assert len(notes) == 1 and "turned" in notes[0]


@needs_bundled_models
@pytest.mark.parametrize("part", ["half", "lower", "both"])
def test_a_covered_face_is_noted_or_rejected(model, portrait, clear, part):
    flat = clear[:, :2]
    right, down = flat[FACE_SIDES[1]] - flat[FACE_SIDES[0]], flat[CHIN] - flat[FOREHEAD]
    nose = flat[1]
    half = [nose - 0.7 * down, nose - 0.7 * down + right, nose + 0.7 * down + right, nose + 0.7 * down]
    lower = [nose - 0.8 * right, nose + 0.8 * right, nose + 0.8 * right + down, nose - 0.8 * right + down]
    shapes = {"half": [half], "lower": [lower], "both": [half, lower]}[part]
    try:
        _, notes = model(drawn(portrait, *(((205, 160, 135), shape) for shape in shapes)))
    except RejectedError as rejected:
        assert rejected.mend
    else:
        assert any("hard to see" in note for note in notes)


@needs_bundled_models
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_a_second_face_is_noted_however_small(model, portrait, clear, share):
    height, width = portrait.shape[:2]
    image = Image.new("RGB", (2 * width, height), (120, 120, 130))
    image.paste(Image.fromarray(portrait), (0, 0))
    smaller = Image.fromarray(portrait).resize((round(width * share * 0.9), round(height * share * 0.9)))
    image.paste(smaller, (width + 5, 5))
    landmarks, notes = model(np.asarray(image))
    assert any(note.startswith("2 faces") for note in notes)
    assert np.linalg.norm(landmarks.mean(axis=0)[:2] - clear.mean(axis=0)[:2]) < 0.1 * width


@needs_bundled_models
def test_a_photograph_without_a_face_is_rejected(model):
    with pytest.raises(RejectedError):
        model(np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8))


def test_a_search_takes_few_looks_at_a_photograph_of_any_size():
    seen = []
    detector = FaceDetector(lambda picture: seen.append(picture.shape) or [], 0.06)
    photograph = np.zeros((6144, 8192, 3), np.uint8)
    face_search.smaller_faces(photograph, detector, face_search.narrowest_face(photograph))
    assert 10 < len(seen) < 60
    assert set(seen) == {(face_search.WINDOW_PIXELS, face_search.WINDOW_PIXELS, 3)}


def test_a_detection_in_a_window_is_told_in_pixels_of_the_photograph():
    def bright(picture):
        rows, columns = np.nonzero(picture[..., 0] > 200)
        if len(rows) == 0:
            return []
        middle = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
        return [Detection(0.9, np.tile(middle, (6, 1)), middle, 20.0)]

    photograph = np.zeros((900, 1300, 3), np.uint8)
    photograph[600:612, 1000:1012] = 255
    found = face_search.smaller_faces(photograph, FaceDetector(bright, 0.06), 40.0)
    assert len(found) == 1
    np.testing.assert_allclose(found[0].middle, [1006, 606], atol=1.5)


@pytest.mark.parametrize("scale", [2.0, 0.8, 0.2])
def test_what_networks_look_at_is_the_crop(scale):
    rows, columns = np.mgrid[:700, :900]
    photograph = np.stack([columns // 4, rows // 3, (rows + columns) // 8], axis=-1).astype(np.uint8)
    crop = upright_crop(np.array([400.0, 300.0]), np.array([0.3, -0.9]), scale, 128)
    difference = np.abs(
        face_search.view(photograph, crop).astype(int) - crop_photograph(photograph, crop).astype(int)
    )
    assert np.quantile(difference, 0.95) <= 3


def test_turns_are_measured_and_doubt_grows_with_them():
    points = np.random.default_rng(0).normal(size=(468, 3))
    turned = points @ Rotation.from_rotvec([0, np.radians(12), 0]).as_matrix().T
    assert turn_between(points, turned) == pytest.approx(12)
    sure, same, other, unsure = (
        SimpleNamespace(landmarks=landmarks, score=score)
        for landmarks, score in ((points, 0.95), (points, 0.95), (turned, 0.95), (points, 0.6))
    )
    assert doubt(sure, same) < doubt(sure, other)
    assert doubt(sure, same) < doubt(sure, unsure)


def test_the_roll_of_a_head_is_clockwise():
    landmarks = np.zeros((468, 3))
    landmarks[FACE_SIDES[1], :2], landmarks[FACE_SIDES[0], :2] = [0, 1], [0, -1]
    landmarks[FOREHEAD, :2], landmarks[CHIN, :2] = [1, 0], [-1, 0]
    assert roll(landmarks) == pytest.approx(90)


def test_the_camera_faces_an_object_that_is_small_in_its_photograph():
    size = 256
    near = upright_crop(np.array([1500.0, 1500.0]), np.array([0.0, -1.0]), size / 3000, size)
    small = upright_crop(np.array([3800.0, 200.0]), np.array([0.0, -1.0]), size / 250, size)
    np.testing.assert_allclose(principal_point(near, 3000, 3000), size / 2)
    assert np.linalg.norm(principal_point(small, 4000, 3000) - size / 2) < 0.01 * size
