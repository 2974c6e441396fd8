"""`nerfgen distill`: teach a trained class what a 2D feature extractor sees."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from nerfgen_ns.semantics.config import DistillConfig


@dataclass(kw_only=True)
class Distill(DistillConfig):
    """Learn features everywhere from a 2D extractor's on the photographs, and write a run that tells them.

    Its geometry and colors stay as they are. The viewer, `ns-render --rendered-output-names rgb features`
    and every command of nerfgen take the new run; `nerfgen find` looks for things on it.
    """

    load_config: Path
    """The config.yml of a trained run whose photographs are there."""
    features: str = "daisy"
    """The extractor: daisy, which needs no weights; dino or dinov2, vision transformers whose weights are
    fetched or given; or one that an installed package offers."""
    output_dir: Path
    """The run folder to make: new, empty, or one of an earlier call, which is then replaced."""
    features_file: Path | None = None
    """The extractor's model file; for dino and dinov2 TorchScript (.pt) or .safetensors."""

    def run(self) -> None:
        """Extract, train, write, and print the run's path.

        Raises:
            UsageError: an option makes no sense, there is no such run or extractor, or the folder holds
                something else.
            NerfgenError: the extractor fails, or the folder cannot be written.
        """
        config = DistillConfig(**{field.name: getattr(self, field.name) for field in fields(DistillConfig)})
        config.check()
        from nerfgen_ns.semantics.distillation import distill
        from nerfgen_ns.utils.console import progress_bar

        report = distill(
            self.load_config, self.features, self.output_dir, config, self.features_file, progress_bar
        )
        print(
            f"{report.features}: {report.dims} of {report.channels} numbers with "
            f"{100.0 * report.explained:.0f} % of their variance"
        )
        print(
            f"{report.photographs} photographs, learned in {report.seconds:.1f} s, mean cosine "
            f"{report.agreement:.2f}"
        )
        print(report.config)
