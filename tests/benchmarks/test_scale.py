"""The table of the scale benchmark."""

from pathlib import Path

from benchmarks.machine import describe_machine
from benchmarks.results_file import write_section
from benchmarks.scale import SUBJECT, Figures, section_of
from benchmarks.scale_case import Case, Training

FIGURES: Figures = {
    "rows": [
        {"value": "1000", "milliseconds_a_step": 20.0, "time_ratio": 1.0},
        {"value": "1000000", "milliseconds_a_step": 21.0, "time_ratio": 1.05},
    ],
    "image_size": [
        {
            "value": "64",
            "milliseconds_a_step": 30.0,
            "time_ratio": 1.0,
            "peak_megabytes": 812.3,
            "memory_ratio": 1.0,
        }
    ],
}


def test_the_section_says_what_was_run_and_has_a_row_for_each_case(tmp_path: Path) -> None:
    record = {
        "command": "python -m benchmarks.scale",
        "seconds": 300.0,
        "date": "2026-01-02",
        "machine": describe_machine(),
    }
    path = tmp_path / "RESULTS.md"
    write_section(path, SUBJECT, "cpu", section_of(FIGURES, record))
    lines = path.read_text().splitlines()
    assert "`python -m benchmarks.scale`, 2026-01-02, 5 minutes, on" in " ".join(lines)
    assert "| rows | 1000000 | 21.00 | 1.050 |  |  |" in lines
    assert "| image size | 64 | 30.00 | 1.000 | 812 | 1.000 |" in lines
    assert "Not measured on a GPU yet." in lines


def test_a_case_takes_a_step(tmp_path):
    training = Training(Case(rows=3, image_size=8, rays=16, latent_dim=4, width=16), tmp_path)
    training.step()
    assert training.taken == 1
