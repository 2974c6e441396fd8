"""`nerfgen factory`: annotated images and point clouds without end."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from nerfgen_ns.errors import UsageError
from nerfgen_ns.semantics.config import FactoryConfig


@dataclass(kw_only=True)
class Factory(FactoryConfig):
    """Make an annotated data set of identities that a labeled class model samples.

    Each image comes with label map, matte, depth, normals, camera, landmarks and boxes, and each identity
    with a part-labeled point cloud. A data card, README.md and schema.json, says what is what. The same call
    continues where another was interrupted.
    """

    load_config: Path
    """The config.yml of a run with labels, see `nerfgen label`, or a packed one."""
    output_dir: Path
    """Folder to write into: new, empty, or one of an earlier call with the same options; what is finished in
    it stays."""
    shard: str | None = None
    """Make only a part, i/n: of n calls with the same folder the i-th. They may run at once, also on several
    machines that share the folder. The last one to end completes it."""

    def run(self) -> None:
        """Make, write, and print the folder and the rate.

        Raises:
            UsageError: an option makes no sense, the run has no labels, or the folder holds something else.
            NerfgenError: the folder cannot be written.
        """
        config = FactoryConfig(**{field.name: getattr(self, field.name) for field in fields(FactoryConfig)})
        config.check()
        if self.output_dir.is_file():
            raise UsageError(f"--output-dir {self.output_dir}: is a file; choose another folder")
        from nerfgen_ns.runs.loading import load_run
        from nerfgen_ns.semantics.factory import factory
        from nerfgen_ns.utils.console import progress_bar

        run = load_run(self.load_config)
        with progress_bar("images") as progress:
            report = factory(run, self.output_dir, config, self.shard, progress)
        rate = f", {report.images / report.seconds:.1f} images a second" if report.images else ""
        print(f"{report.images} images of {report.objects} identities made{rate}")
        if report.unfinished:
            print(f"{report.unfinished} parts are left for other shards")
        print(report.folder)
