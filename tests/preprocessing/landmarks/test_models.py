"""Landmark and matte models of other packages, the one in docs/plugins.md among them."""

import re
import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.preprocessing.landmarks import models
from nerfgen_ns.preprocessing.landmarks.models import (
    LANDMARK_MODELS,
    MATTE_MODELS,
    Landmarks,
    LandmarkScheme,
    RejectedError,
)
from nerfgen_ns.preprocessing.mattes import MatteOptions
from nerfgen_ns.preprocessing.single_photograph import CapturePhotograph
from nerfgen_ns.preprocessing.store import CaptureFiles

GUIDE = Path(__file__).resolve().parents[3] / "docs/plugins.md"
SCHEME = LandmarkScheme(4)


@pytest.fixture
def offer(monkeypatch):
    """Offer objects as models of a package `offered`, beside those that are installed."""
    module = types.ModuleType("offered")
    monkeypatch.setitem(sys.modules, "offered", module)
    entries = []
    installed = models.entry_points

    def of_group(group):
        return [*installed(group=group), *(entry for entry in entries if entry.group == group)]

    monkeypatch.setattr(models, "entry_points", of_group)

    def add(group, name, value):
        attribute = f"model_{len(entries)}"
        setattr(module, attribute, value)
        entries.append(EntryPoint(name, f"offered:{attribute}", group))

    return add


class Corners:
    scheme = SCHEME

    def __init__(self, file=None):
        self.file = file

    def __call__(self, photograph):
        height, width = photograph.shape[:2]
        return Landmarks(np.array([[0.0, 0], [width, 0], [0, height], [np.nan, 0]]))


def test_the_guides_example_captures_a_photograph(offer, tmp_path):
    code = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.S)[0]
    names: dict = {}
    exec(compile(code, str(GUIDE), "exec"), names)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    offer(LANDMARK_MODELS, "cats", names["CatLandmarks"])
    offer(MATTE_MODELS, "cats", names["CatMattes"])
    assert isinstance(names["CatLandmarks"](), models.LandmarkModel)
    picture = np.full((100, 120, 3), 255, np.uint8)
    picture[20:80, 30:90] = 90
    places = [(40, 50), (40, 70), (60, 60), (30, 40), (30, 80)]
    for row, column in places:
        picture[row, column] = [255, 0, 255]
    Image.fromarray(picture).save(tmp_path / "cat.png")
    files = CaptureFiles(tmp_path / "out/image.png", tmp_path / "out/matte.png")
    capture = CapturePhotograph(64, landmark_model="cats", mattes=MatteOptions("cats"))
    record = capture(tmp_path / "cat.png", files)
    assert capture.scheme.mirror_partners.tolist() == [1, 0, 2, 4, 3]
    matrix = np.array(record["photograph_to_crop"])
    back = (record["landmarks"] - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    found = np.array(sorted(places))[:, ::-1] + 0.5
    np.testing.assert_allclose(back, found, atol=0.01)
    assert record["confidence"].tolist() == [1.0] * 5
    with Image.open(files.image) as image, Image.open(files.matte) as matte:
        assert image.size == matte.size == (64, 64)
        assert np.asarray(matte)[32, 32] == 255
    Image.new("RGB", (100, 100)).save(tmp_path / "dog.png")
    assert capture(tmp_path / "dog.png", files)["reason"] == "no cat was found"


def test_the_guide_names_the_entry_point_groups():
    assert f'entry-points."{LANDMARK_MODELS}"' in GUIDE.read_text()
    assert f'entry-points."{MATTE_MODELS}"' in GUIDE.read_text()


def test_mediapipe_is_offered_the_same_way():
    assert "mediapipe" in models.model_names(LANDMARK_MODELS)
    assert "mediapipe" in models.model_names(MATTE_MODELS)
    assert models.landmark_scheme("mediapipe").count == 468


def test_missing_landmarks_have_no_confidence_and_no_place(offer):
    offer(LANDMARK_MODELS, "corners", Corners)
    found = models.open_landmark_model("corners")(np.zeros((30, 40, 3), np.uint8))
    assert found.confidence.tolist() == [1, 1, 1, 0] and np.isnan(found.points[3]).all()


def test_a_model_file_is_handed_on(offer, tmp_path):
    made = []
    factory = type("Factory", (Corners,), {"__init__": lambda self, *files: made.append(files)})
    offer(LANDMARK_MODELS, "filed", factory)
    models.open_landmark_model("filed")
    models.open_landmark_model("filed", tmp_path)
    assert made == [(), (tmp_path,)]


def test_an_unknown_name_is_a_wrong_call_that_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"'cows'.*mediapipe"):
        models.open_landmark_model("cows")


def returning(value):
    return type("Odd", (Corners,), {"__call__": lambda self, photograph: value})


def failing(error):
    def call(self, photograph):
        raise error

    return type("Odd", (Corners,), {"__call__": call})


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (returning(np.zeros((4, 2))), "ndarray"),
        (returning(Landmarks(np.zeros((5, 2)))), r"\(5, 2\)"),
        (returning(Landmarks(np.zeros((4, 3)))), r"\(4, 3\)"),
        (returning(Landmarks(np.zeros((4, 2)), np.full(4, 2.0))), "confidence"),
        (failing(ZeroDivisionError("by nothing")), "ZeroDivisionError: by nothing"),
        (type("Odd", (), {}), "`scheme`"),
        (3, "odd"),
    ],
)
def test_a_model_that_does_not_keep_to_the_protocol_is_named(offer, model, named):
    offer(LANDMARK_MODELS, "odd", model)
    with pytest.raises(NerfgenError, match=named) as error:
        models.open_landmark_model("odd")(np.zeros((30, 40, 3), np.uint8))
    assert "odd" in str(error.value) and error.value.exit_status == 1


def test_a_rejection_passes_through(offer):
    offer(LANDMARK_MODELS, "odd", failing(RejectedError("nothing there", "look elsewhere")))
    with pytest.raises(RejectedError, match="nothing there"):
        models.open_landmark_model("odd")(np.zeros((30, 40, 3), np.uint8))


@pytest.mark.parametrize("matte", [np.zeros((3, 3)), np.full((30, 40), np.nan)])
def test_a_matte_model_that_returns_no_matte_is_named(offer, matte):
    offer(MATTE_MODELS, "odd", lambda: lambda photograph: matte)
    with pytest.raises(NerfgenError, match="'odd'"):
        models.open_matte_model("odd")(np.zeros((30, 40, 3), np.uint8))
