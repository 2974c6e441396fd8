"""`nerfgen prepare`: photographs, or a collection with known cameras → a prepared folder and a report."""

import sys
from dataclasses import dataclass, fields

from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing.plan import OptionalFile, OptionalFolder
from nerfgen_ns.preprocessing.prepare import PrepareConfig, prepare, prepare_shard
from nerfgen_ns.preprocessing.prepared_folder import Shard
from nerfgen_ns.preprocessing.report.prepare_report import summary


@dataclass(kw_only=True)
class Prepare(PrepareConfig):
    """Make a prepared folder to train on: crops, mattes, cameras, and report.html to look at.

    Each photograph shows one object of a class. Its camera is computed from landmarks, or it is known
    already. MediaPipe finds the landmarks of faces; for any class a file can give them.
    """

    data: OptionalFolder = None  # type: ignore[assignment]
    """Folder of photographs, or of a collection whose cameras are known: SRN's rgb/ and pose/, or a
    transforms.json of nerfstudio or Blender, or a folder of one of these for each object. Nothing is written
    into it."""
    from_run: OptionalFile = None
    """Instead of --data, the config.yml of a run: prepare its photographs again, with better cameras. The
    cameras are fitted again, together with new codes, while the run's networks do not change. If the run was
    trained with --pipeline.model.camera-optimizer.mode SO3xR3, they are those that it has learned. It takes
    only --output-dir besides."""
    shard: str | None = None
    """Do a part of the work, i/n: the i-th of n, counted from 1. Machines that share the folders do one part
    each, in any order or at the same time. Then the same call without this option joins the parts."""

    def run(self) -> None:
        """Prepare, and print a summary.

        Raises:
            UsageError, NerfgenError: see `prepare`, `prepare_shard` and `prepare_from_run`.
            SystemExit: with status 130 when interrupted; the same command continues the work.
        """
        if (self.data is None) == (self.from_run is None):
            raise UsageError("give either --data, a folder of photographs, or --from-run, a run's config.yml")
        try:
            if self.from_run is not None:
                self._refined()
            elif self.shard is None:
                self._whole()
            else:
                self._part(Shard.parse(self.shard))
        except KeyboardInterrupt:
            print("interrupted: run the same command again to continue from here", file=sys.stderr)
            raise SystemExit(130) from None

    def _whole(self) -> None:
        from rich.console import Console

        console = Console(highlight=False)
        for line in summary(prepare(self)):
            console.print(line, soft_wrap=True)

    def _part(self, shard: Shard) -> None:
        report = prepare_shard(self, shard)
        print(f"shard {shard}: {report.captured} photographs captured, {report.rejected} rejected")
        if report.unfinished:
            print(f"not finished yet: {', '.join(report.unfinished)}")
        else:
            print("all shards are finished: the same call without --shard puts them together")

    def _refined(self) -> None:
        import numpy as np

        from nerfgen_ns.inversion.refit import prepare_from_run
        from nerfgen_ns.utils.console import progress_bar

        own = ("output_dir", "from_run")
        for field in fields(self):
            if field.name not in own and getattr(self, field.name) != field.default:
                option = "--" + field.name.replace("_", "-")
                raise UsageError(f"{option}: does not go with --from-run, which keeps what the run was given")
        assert self.from_run is not None
        refined = prepare_from_run(self.from_run, self.output_dir, progress_bar)
        how = "fitted again" if refined.refitted else "as the run learned them"
        print(
            f"{len(refined.change)} cameras {how}, turned by {np.median(refined.change):.2f}° in the median"
        )
        if refined.error_before is not None:
            print(
                f"median reprojection error {refined.error_before:.2f} pixels before, "
                f"{refined.error_after:.2f} after"
            )
        print(refined.path)
