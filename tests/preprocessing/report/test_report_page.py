"""`report.html`: made from a prepared folder alone, whatever names it holds and whatever it lacks."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfgen_ns.dataset_format.transforms import read_transforms
from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing.report import prepare_report as report_page
from nerfgen_ns.preprocessing.report.prepare_report import (
    ClassShape,
    overlay,
    select_pictured,
    write_report_page,
)

HOSTILE = ["<script>alert(1)</script>.jpg", "\"><img src=x onerror='alert(2)'>.png", "&amp; {{ 7 * 7 }}.jpg"]
SIDE, FOCAL, DISTANCE = 64, 128.0, 2.5


class Page(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)

    def cards(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if attributes.get("class") == "card"]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def write_folder(folder: Path, count: int, landmarks: bool = True, mattes: bool = True) -> list[dict]:
    """A prepared folder of smooth photographs; each reprojection is off by as many pixels as its place."""
    generator = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "mattes").mkdir()
    points = np.array([[0.2, 0.1, 0], [-0.2, 0.1, 0], [0, -0.2, 0.1], [0, 0.3, 0]])
    frames = []
    for place in range(count):
        colors = generator.integers(0, 255, (5, 5, 3), dtype=np.uint8)
        image = Image.fromarray(colors).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        image.save(folder / f"images/{place:04d}.png")
        pose = np.eye(4)
        yaw = np.radians(generator.normal(0, 15))
        pose[:3, :3] = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
        pose[:3, 3] = DISTANCE * pose[:3, 2]
        entry = {"file_path": f"images/{place:04d}.png", "transform_matrix": pose.tolist()}
        entry |= {"fl_x": FOCAL, "fl_y": FOCAL, "cx": SIDE / 2, "cy": SIDE / 2, "w": SIDE, "h": SIDE}
        entry |= {"identity": place, "source": f"{place}.jpg"}
        if landmarks:
            seen = points @ pose[:3, :3] - [0, 0, DISTANCE]
            pixels = SIDE / 2 + FOCAL * seen[:, :2] / -seen[:, 2:] * [1, -1] + [place, 0]
            entry |= {"landmarks": pixels.tolist(), "reprojection_rmse": float(place)}
        if mattes:
            matte = np.zeros((SIDE, SIDE), np.uint8)
            matte[16:, 16:48] = 255
            Image.fromarray(matte).save(folder / f"mattes/{place:04d}.png")
            entry["mask_path"] = f"mattes/{place:04d}.png"
        frames.append(entry)
    if landmarks:
        (folder / "canonical_landmarks.json").write_text(json.dumps({"landmarks": points.tolist()}))
    report = {"accepted": count, "rejected": [], "median_error": 0.01, "notes": {}}
    (folder / "report.json").write_text(json.dumps(report))
    save_frames(folder, frames)
    return frames


def save_frames(folder: Path, frames: list[dict]) -> None:
    lines = ",\n".join(json.dumps(frame) for frame in frames)
    (folder / "transforms.json").write_text(f'{{"class_name": "cats", "frames": [\n{lines}\n]}}\n')


def test_the_page_holds_every_photograph_the_worst_first_and_asks_nothing_of_the_network(tmp_path):
    write_folder(tmp_path, 5)
    path = write_report_page(tmp_path)
    assert path == tmp_path / "report.html"
    page = Page(path)
    assert [card["data-source"] for card in page.cards()] == [f"{place}.jpg" for place in (4, 3, 2, 1, 0)]
    for _, attributes in page.elements:
        assert "href" not in attributes
        assert (attributes.get("src") or "data:").startswith(
            "data:image/webp;base64,"
        ) or "src" not in attributes
    assert "http://" not in path.read_text() and "https://" not in path.read_text()
    assert "5 photographs accepted" in page.text and "2.00 px" in page.text and "1.00 %" in page.text


def test_overlays_join_each_landmark_with_its_reprojection(tmp_path):
    write_folder(tmp_path, 1)
    (frame,) = read_transforms(tmp_path).frames
    landmarks = frame.landmarks + np.array([3, 0])
    shape = ClassShape.of(json.loads((tmp_path / "canonical_landmarks.json").read_text()))
    drawn = overlay(frame, landmarks, shape)
    assert drawn is not None
    numbers = np.array(re.findall(r"-?[\d.]+", drawn.differences), dtype=float).reshape(-1, 2, 2)
    np.testing.assert_allclose(numbers[:, 0] - numbers[:, 1], np.tile([3, 0], (4, 1)), atol=0.02)
    landmarks[1] = np.nan
    partly = overlay(frame, landmarks, shape)
    assert partly is not None
    assert (partly.landmarks.count("M"), partly.reprojections.count("M")) == (3, 4)
    assert partly.differences.count("M") == 3


def test_reprojections_are_those_of_the_photographs_own_shape(tmp_path):
    write_folder(tmp_path, 1)
    (frame,) = read_transforms(tmp_path).frames
    value = json.loads((tmp_path / "canonical_landmarks.json").read_text())
    rigid = overlay(frame, frame.landmarks, ClassShape.of(value))
    basis = np.zeros((1, 4, 3))
    basis[0, :, 1] = 1
    bent = replace(frame, coefficients=np.array([0.1]))
    own = overlay(bent, frame.landmarks, ClassShape.of(value | {"basis": basis.tolist()}))
    assert rigid is not None and own is not None

    def heights(path):
        return np.array(re.findall(r"M\S+ ([\d.]+)", path), dtype=float)

    # 0.1 units up, at a focal length of 128 pixels and a distance of 2.5 units.
    np.testing.assert_allclose(
        heights(rigid.reprojections) - heights(own.reprojections), 0.1 * FOCAL / DISTANCE, rtol=0.1
    )


def test_hostile_names_are_text_and_nothing_else(tmp_path):
    frames = write_folder(tmp_path, 3)
    for frame, name in zip(frames, HOSTILE, strict=True):
        frame["source"] = name
    save_frames(tmp_path, frames)
    rejected = [{"source": name, "reason": f"damaged ({name})", "mend": name} for name in HOSTILE]
    report = {"rejected": rejected, "median_error": 0.01, "notes": {HOSTILE[0]: [HOSTILE[1]]}}
    (tmp_path / "report.json").write_text(json.dumps(report))
    page = Page(write_report_page(tmp_path))
    assert sum(tag == "script" for tag, _ in page.elements) == 1
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert {card["data-source"] for card in page.cards()} == set(HOSTILE)
    for name in HOSTILE:
        assert name in page.text


def test_the_rejected_are_listed_by_reason_with_their_mend(tmp_path):
    write_folder(tmp_path, 2)
    rejected = [{"source": f"r{i}.jpg", "reason": "no face", "mend": "turn it"} for i in range(70)]
    rejected.append({"source": "torn.jpg", "reason": "damaged", "mend": "copy it"})
    (tmp_path / "report.json").write_text(json.dumps({"rejected": rejected, "median_error": 0.01}))
    text = Page(write_report_page(tmp_path)).text
    assert text.index("70 × no face") < text.index("1 × damaged")
    assert "turn it" in text and "copy it" in text and "torn.jpg" in text
    assert "r59.jpg" in text and "r60.jpg" not in text and "and 10 more" in text
    assert "71 of 73 photographs were rejected" in text


def test_duplicates_and_useless_mattes_are_marked_on_their_photographs(tmp_path):
    write_folder(tmp_path, 6)
    with Image.open(tmp_path / "images/0000.png") as image:
        image.save(tmp_path / "images/0001.png")
    with Image.open(tmp_path / "images/0002.png") as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "images/0003.png")
    Image.new("L", (SIDE, SIDE), 0).save(tmp_path / "mattes/0004.png")
    page = Page(write_report_page(tmp_path))
    tags = {card["data-source"]: card["data-tags"] for card in page.cards()}
    assert tags == {
        "0.jpg": "near-duplicates",
        "1.jpg": "near-duplicates",
        "2.jpg": "mirrored duplicates",
        "3.jpg": "mirrored duplicates",
        "4.jpg": "empty matte",
        "5.jpg": "",
    }
    assert "like 1.jpg" in page.text and "like 2.jpg" in page.text


def test_a_folder_of_known_cameras_without_landmarks_mattes_and_report_makes_a_page(tmp_path):
    write_folder(tmp_path, 3, landmarks=False, mattes=False)
    (tmp_path / "report.json").unlink()
    page = Page(write_report_page(tmp_path))
    assert [card["data-source"] for card in page.cards()] == ["0.jpg", "1.jpg", "2.jpg"]
    assert "median error" not in page.text and "Reprojection error" not in page.text
    assert not any(attributes.get("class") == "tint" for _, attributes in page.elements)


def test_of_many_photographs_a_selection_is_pictured_and_said_so(tmp_path, monkeypatch):
    monkeypatch.setattr(report_page, "MOST_PICTURED", 6)
    write_folder(tmp_path, 30)
    Image.new("L", (SIDE, SIDE), 0).save(tmp_path / "mattes/0007.png")
    page = Page(write_report_page(tmp_path))
    pictured = {card["data-source"] for card in page.cards()}
    assert len(pictured) == 6 and {"29.jpg", "28.jpg", "7.jpg"} <= pictured
    assert "6 of 30 pictured" in page.text


def test_the_selection_holds_the_worst_the_concerned_and_an_even_rest():
    error = np.arange(100.0)
    np.testing.assert_array_equal(select_pictured(error, [3], 100), np.arange(100))
    chosen = select_pictured(error, [3, 3, 99], 12)
    assert len(chosen) == 12 and {96, 97, 98, 99, 3} <= set(chosen)
    rest = [place for place in chosen if place not in {96, 97, 98, 99, 3}]
    assert rest[0] == 0 and rest[-1] == 95 and max(np.diff(rest)) < 20
    assert len(select_pictured(np.full(100, np.nan), range(100), 12)) == 12


def test_a_missing_image_is_named_and_an_older_page_stays(tmp_path):
    write_folder(tmp_path, 3)
    before = write_report_page(tmp_path).read_text()
    (tmp_path / "images/0001.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"/0001\.png: "):
        write_report_page(tmp_path)
    assert (tmp_path / "report.html").read_text() == before


def test_a_folder_without_frames_is_refused(tmp_path):
    save_frames(tmp_path, [])
    with pytest.raises(UsageError, match=r"transforms\.json: "):
        write_report_page(tmp_path)
