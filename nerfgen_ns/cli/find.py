"""`nerfgen find`: which objects of a class have what a photograph shows, and where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(kw_only=True)
class Find:
    """Look on all objects for what a point, a box or a picture shows; of a run of `nerfgen distill`.

    The result is a run folder whose output `similarity` is a heat map of it, with the ranking of all
    identities (find.json) and heat maps from several sides (sheet.png).
    """

    load_config: Path
    """The config.yml of a run of `nerfgen distill`."""
    output_dir: Path
    """The run folder to make: new, empty, or one of an earlier call, which is then replaced."""
    photograph: str | None = None
    """The photograph that shows what to look for: its place in the run's data, or its name."""
    point: tuple[float, float] | None = None
    """A point of it: pixels from the left and from the top of the crop in the prepared folder."""
    box: tuple[float, float, float, float] | None = None
    """A box of it: its left, upper, right and lower end, in the same pixels."""
    image_crop: Path | None = None
    """A picture of what to look for, at the scale of the photographs, in place of --photograph."""
    threshold: float | None = None
    """Similarity, from 0 to 1, from which something counts as found. Label maps of the photographs
    (segmentation/) and the part of the first object's mesh (mask.ply, mask_points.ply) are then written."""
    name: str = "found"
    """What the label maps call it."""
    top: int = 8
    """How many identities are drawn and segmented: the photograph's own, and the best."""
    size: int = 128
    """Width and height of the pictures of the sheet in pixels."""
    features_file: Path | None = None
    """The extractor's model file, as for `nerfgen distill`; --image-crop needs it."""

    def run(self) -> None:
        """Search, write, and print the best identities and the run's path.

        Raises:
            UsageError: an option makes no sense, or the run has no features.
            NerfgenError: nothing is similar enough, or the folder cannot be written.
        """
        from nerfgen_ns.semantics.finding import Place
        from nerfgen_ns.semantics.found_runs import find
        from nerfgen_ns.utils.console import progress_bar

        place = Place(self.photograph, self.point, self.box, self.image_crop)
        place.check()
        report = find(
            self.load_config,
            place,
            self.output_dir,
            self.threshold,
            self.name,
            self.top,
            self.size,
            self.features_file,
            progress_bar,
        )
        for match in report.matches.ranking[: self.top]:
            print(f"  {match.score:.3f}  identity {match.identity}  {match.photograph}")
        print(report.sheet)
        print(report.config)
