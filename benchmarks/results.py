"""docs/results.md: what was measured, from the JSON that the benchmarks wrote, with pictures.

    python -m benchmarks.results --quality outputs/heads/quality.json outputs/portraits/quality.json \
        --budget outputs/budget/budget.json \
        --ablate outputs/ablate/ablate.json --evaluate outputs/heads/metrics.json \
        --cameras outputs/cameras.json --throughput outputs/throughput/throughput.json

Every section says what was run, on which machine and in how long. Pictures are the models' own renders and
plots, beside the page in a folder of its name; no photograph is copied. A section takes the place of the
former one of its heading, and the others stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks import result_sections
from benchmarks.result_pictures import ResultPictures
from nerfgen_ns.errors import UsageError, exit_with_one_line
from nerfgen_ns.utils.files import write_text

INTRODUCTION = """# Results

Written by `python -m benchmarks.results` from what the benchmarks measured; do not edit it. Every section
names the command, the machine and the time. *heads* are rendered heads with the truth, *portraits* official
portraits in the public domain, one per person; neither is shipped, and the commands take any folder of their
form. All pictures are renders of the models, or plots."""

Section = Callable[[Path, ResultPictures], str]


@dataclass
class Results:
    """Write the page of results."""

    quality: tuple[Path, ...] = ()
    """quality.json files of `benchmarks.quality`, each with its turning.png beside it."""
    evaluate: tuple[Path, ...] = ()
    """Files of `nerfgen evaluate`."""
    budget: tuple[Path, ...] = ()
    """budget.json of `benchmarks.budget`, with its plot beside it and its runs below."""
    ablate: tuple[Path, ...] = ()
    """ablate.json of `benchmarks.ablate`, with its pictures beside it."""
    cameras: tuple[Path, ...] = ()
    """File of `benchmarks.cameras`."""
    throughput: tuple[Path, ...] = ()
    """throughput.json files of `benchmarks.throughput`, one for each machine."""
    output_path: Path = Path("docs/results.md")
    """The page; its pictures go into a folder of the same name beside it."""

    def run(self) -> None:
        """Write the page and its pictures.

        Raises:
            UsageError: no file is given, or one is not what its benchmark writes.
            NerfgenError: the page cannot be written.
        """
        chapters: tuple[tuple[str, tuple[Path, ...], Section], ...] = (
            ("What a method makes of a folder", self.quality, result_sections.quality_section),
            ("Quality against time", self.budget, result_sections.budget_section),
            ("Evaluation by the paper's protocols", self.evaluate, result_sections.evaluation_section),
            ("What each part is worth", self.ablate, result_sections.ablation_section),
            ("Cameras from landmarks", self.cameras, result_sections.cameras_section),
            ("Speed", self.throughput, result_sections.throughput_section),
        )
        if not any(paths for _, paths, _ in chapters):
            raise UsageError(
                "nothing to write: give the JSON of a benchmark, for example --quality quality.json"
            )
        pictures = ResultPictures(self.output_path)
        former = self._former()
        parts = [INTRODUCTION]
        for title, paths, section in chapters:
            sections = split_at_headings(former.get(title, ""), "###")
            for path in paths:
                sections |= split_at_headings(self._section(section, path, pictures), "###")
            if sections:
                parts.append(f"## {title}")
            parts += [f"### {heading}\n\n{body}" for heading, body in sections.items()]
        write_text(self.output_path, "\n\n".join(parts) + "\n")
        print(self.output_path)

    def _former(self) -> dict[str, str]:
        """Return the chapters of the page as it is."""
        if not self.output_path.exists():
            return {}
        try:
            return split_at_headings(self.output_path.read_text(encoding="utf-8"), "##")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{self.output_path}: not a readable page ({error}); choose another --output-path"
            ) from error

    def _section(self, section: Section, path: Path, pictures: ResultPictures) -> str:
        try:
            return section(path, pictures)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise UsageError(
                f"{path}: not what its benchmark writes now ({type(error).__name__}: {error}); "
                "run the benchmark again"
            ) from error


def split_at_headings(text: str, level: str) -> dict[str, str]:
    """Return what is below each heading of a level, `##` or `###`, by the heading."""
    _, *parts = re.split(rf"^{level} ", text, flags=re.MULTILINE)
    return {heading: body.strip() for heading, _, body in (part.partition("\n") for part in parts)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    with exit_with_one_line():
        tyro.cli(Results, args=arguments).run()


if __name__ == "__main__":
    main()
