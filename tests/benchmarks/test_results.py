"""The page of results, from JSON as the benchmarks write it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import results
from benchmarks.machine import RECORD

MACHINE = {
    "processor": "Some Processor", "cores": 2, "memory_gigabytes": 8.0, "accelerator": None,
    "fast_bf16": False, "python": "3.11.7", "torch": "2.11.0", "nerfstudio": "1.1.5",
}  # fmt: skip
RUN = {"command": "python -m benchmarks.some", "seconds": 300.0, "date": "2024-01-02", "machine": MACHINE}
QUALITY = {
    "config": "/far/away/config.yml", "method": "nerfgen-tiny", "data": "heads/train",
    "test": "heads/test_seen", "downscale_factor": 2,
    "training_minutes": 4.0, "wall_seconds_of_training_command": 260.0,
    "peak_resident_megabytes": 1100.0, "training_steps": 12345, "reconstruction_views": 64,
    "reconstruction_psnr": 29.123, "new_views_views": 192, "new_views_foreground_psnr": 24.256,
    "new_views_depth_correlation": 0.9691, RECORD: RUN,
}  # fmt: skip
ABLATION = {
    "settings": {
        "method": "nerfgen-tiny", "minutes": 1.0, "seeds": 2, "images": 256, "views": 96,
        "data": "train_1024", "test": "test_seen", "pixels": 64, "judged_identities": 24, "judged_views": 96,
    },
    "baselines": [
        {"name": "mean image", "note": "the mean", "figures": {"new_views_foreground_psnr": [13.9]}}
    ],
    "ablations": [
        {
            "name": "losses", "title": "Losses", "question": "Which?", "axis": None, "reference": "as it is",
            "rows": [
                {
                    "name": name, "place": None, "options": [], "trainings": [{**RUN, "command": name}] * 2,
                    "figures": {"new_views_foreground_psnr": values},
                }
                for name, values in (("as it is", [24.0, 24.2]), ("without", [22.0, 22.1]))
            ],
        }
    ],
    RECORD: RUN,
}  # fmt: skip
EVALUATION = {
    "run": {
        "config": "/far/config.yml", "method": "nerfgen-tiny", "step": 999, "identities": 256,
        "data": "/far/heads/train",
    },
    "data": {"test_new": "/far/heads/test_new"},
    "results": [
        {
            "protocol": "novel-views", "data": "test_new", "source": "Somebody et al., section 4.",
            "settings": {}, "seconds": 12.3, "views": [],
            "figures": [
                {
                    "name": "PSNR", "value": 24.5678, "unit": "dB", "better": "higher", "count": 168,
                    "note": "a|b",
                },
                {
                    "name": "LPIPS", "value": None, "unit": "", "better": "lower", "count": 0,
                    "note": "no weights: put them at /far/cache/alex.pth",
                },
            ],
        }
    ],
    "not_run": [
        {"protocol": "depth", "data": "test_new", "reason": "no depth in /far/heads/t/transforms.json"}
    ],
    "remarks": [], "settings": {"downscale_factor": 2}, "versions": {}, "machine": MACHINE, "seconds": 200.0,
}  # fmt: skip
BUDGET = {
    "data": "portraits/prepared", "judged_factor": 2,
    "trainings": [
        {
            "method": "nerfgen-small", "minutes": minutes, "size": 128, "steps": round(1234 * minutes),
            "sheet": "turning.png",
            "figures": {
                "training-reconstruction": {"PSNR inside the matte": psnr, "SSIM inside the matte": 0.7},
                "held-out": {"PSNR inside the matte": 21.0, "SSIM inside the matte": None},
            },
        }
        for minutes, psnr in ((4.0, 21.25), (60.0, 24.125))
    ],
    RECORD: RUN,
}  # fmt: skip
CAMERAS = {
    "accuracy": {"68 exact landmarks": {"rotation error": 1.15, "seconds": 2.0}},
    "scale": {"1000 photographs": {"milliseconds each": 6.3}},
    RECORD: RUN,
}
THROUGHPUT = {
    "machine": {"device": "Some Processor", "kind": "cpu", "threads": 2, "torch": "2.11.0"},
    "settings": {"data": "/far/heads/train"},
    "trainings": {
        name: {
            "seconds": 60.0, "steps_per_second": 1.0, "rays_per_second": rays, "samples_per_second": 9.0,
            "frames_per_second": 2.0, "peak_megabytes": {"resident": 1000.0},
            "new_view_psnr": [[0.0, 9.0], [60.0, psnr]],
        }
        for name, rays, psnr in (("reference", 2351.0, 16.8), ("ours", 20000.0, 23.0))
    },
    "target": {"psnr": 16.8, "seconds": {"reference": 60.0, "ours": 6.0}, "ratio": 10.0},
}  # fmt: skip


def write(path: Path, value: dict[str, Any], *pictures: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    for picture in pictures:
        random = np.random.default_rng(0).integers(0, 256, (40, 1600, 3), dtype=np.uint8)
        Image.fromarray(random).save(path.with_name(picture))
    return str(path)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page with a section of every kind."""
    drawn = ("losses.png", "losses_renders.png")
    results.main(
        [
            *("--quality", write(tmp_path / "quality" / "quality.json", QUALITY, "turning.png")),
            *("--budget", write(tmp_path / "b" / "budget.json", BUDGET, "budget.png", "turning.png")),
            *("--ablate", write(tmp_path / "ablate" / "ablate.json", ABLATION, *drawn)),
            *("--evaluate", write(tmp_path / "metrics.json", EVALUATION)),
            *("--cameras", write(tmp_path / "cameras.json", CAMERAS)),
            *("--throughput", write(tmp_path / "t" / "throughput.json", THROUGHPUT, "throughput.png")),
            *("--output-path", str(tmp_path / "docs" / "results.md")),
        ]
    )
    return tmp_path / "docs" / "results.md"


def test_the_page_holds_the_figures_of_every_file(page: Path) -> None:
    text = page.read_text()
    for figure in (
        "| reconstruction: PSNR, dB | 29.12 |",
        "| new views: depth correlation | 0.969 |",
        "| nerfgen-small | 60 | 128 px | 74,040 | 24.12 | 0.7 | 21 | – |",
        "![Renders of `nerfgen-small` after 60 minutes",
        "| without | 22.05 ± 0.07 ▼ |",
        "| mean image | 13.90 |",
        "| PSNR ↑ | 24.57 dB | 168 | a\\|b |",
        "| LPIPS ↓ | not available | 0 |",
        "| rotation error | 1.15 |",
        "| rays a second | 2,351 | 20,000 |",
        "10.0 times sooner",
    ):
        assert figure in text, figure


def test_every_section_names_the_machine_and_the_time(page: Path) -> None:
    chapters = page.read_text().split("\n## ")[1:]
    assert len(chapters) == 6
    for chapter in chapters:
        assert "Some Processor" in chapter
    assert all("minutes" in chapter for chapter in chapters[:5])


def test_no_folder_of_this_machine_reaches_the_page(page: Path, tmp_path: Path) -> None:
    text = page.read_text()
    assert "/far" not in text and str(tmp_path) not in text
    assert "heads/train" in text and "t/transforms.json" in text


def test_every_picture_lies_beside_the_page_and_is_small(page: Path) -> None:
    shown = [part.split(")")[0] for part in page.read_text().split("](")[1:]]
    assert len(shown) == 6
    for name in shown:
        with Image.open(page.parent / name) as picture:
            assert picture.width <= 1200
    assert {Path(name).suffix for name in shown} == {".png", ".jpg"}
    assert {path.name for path in (page.parent / "results").iterdir()} == {Path(name).name for name in shown}


def test_a_section_takes_the_place_of_the_former_one_and_the_others_stay(page: Path, tmp_path: Path) -> None:
    before = page.read_text()
    quality = tmp_path / "quality" / "quality.json"
    results.main(["--quality", str(quality), "--output-path", str(page)])
    assert page.read_text() == before
    write(quality, {**QUALITY, "reconstruction_psnr": 30.5})
    results.main(["--quality", str(quality), "--output-path", str(page)])
    assert page.read_text() == before.replace("| 29.12 |", "| 30.50 |") != before
    write(quality, {**QUALITY, "data": "cars"})
    results.main(["--quality", str(quality), "--output-path", str(page)])
    assert page.read_text().count("| reconstruction: photographs | 64 |") == 2


@pytest.mark.parametrize("content", ["{}", "[]", "not json"])
def test_a_file_of_another_kind_is_a_wrong_call_and_leaves_no_page(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "quality.json").write_text(content)
    with pytest.raises(SystemExit) as ended:
        results.main(
            ["--quality", str(tmp_path / "quality.json"), "--output-path", str(tmp_path / "page.md")]
        )
    assert ended.value.code == 2
    assert "quality.json" in capsys.readouterr().err
    assert not (tmp_path / "page.md").exists()


def test_nothing_to_write_is_a_wrong_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        results.main(["--output-path", str(tmp_path / "page.md")])
    assert ended.value.code == 2 and "--quality" in capsys.readouterr().err
