"""`nerfgen demo`: make an embedded class, train on it, measure the result and show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from nerfgen_ns.errors import UsageError, check_picture_size
from nerfgen_ns.runs.launch import Training
from nerfgen_ns.synthetic import ClassName
from nerfgen_ns.utils.console import counted, progress_bar

if TYPE_CHECKING:
    from nerfgen_ns.runs.run import Run
    from nerfgen_ns.synthetic.dataset import EmbeddedClass


IMAGE_SIZE, DOWNSCALE_FACTOR = 128, 2
TEST_IDENTITIES, TEST_VIEWS = 24, 4
RECONSTRUCTIONS = 32
SHEET_IDENTITIES, VIDEO_IDENTITIES, FRAMES = 6, 4, 48


@dataclass
class Demo:
    """Make an embedded class, train nerfgen-tiny on it, measure the result and show it.

    Complete parts are used again, and an interrupted demo continues where it stopped.
    """

    output_dir: Path = Path("demo")
    """Folder for the data, the trained run, the figures and the pictures."""
    view: bool = False
    """Make and train nothing: open the viewer on the heads that come trained with the package."""
    class_name: Annotated[ClassName, tyro.conf.arg(name="class")] = "heads"
    """heads, photographed from the front, with mattes; or cars, seen from all around and above, in front of
    plain white, without mattes."""
    training_minutes: float = 3.0
    """Minutes of training."""
    identities: int = 256
    """Objects to make and to train on, one image each."""
    picture_size: int = 96
    """Width and height of each render in the pictures, in pixels; even."""

    def run(self) -> None:
        """Make what is missing, then print the figures and the paths.

        Raises:
            UsageError: an option is out of range, or the folder holds a demo made with other options.
            NerfgenError: the folder cannot be written to, or the training failed.
        """
        if self.view:
            self._view()
            return
        self._claim_folder()
        Stages(self).run()

    def _view(self) -> None:
        from nerfgen_ns.cli.view import View
        from nerfgen_ns.runs.code_runs import unpack
        from nerfgen_ns.runs.pack import HEADS

        if self.class_name != "heads":
            raise UsageError(
                f"--view --class {self.class_name}: heads alone come trained; make the demo without --view "
                "and open its run with ns-viewer"
            )
        load_config = unpack(HEADS, self.output_dir / "shipped")
        print(f"run: {load_config}")
        View(load_config).run()

    def _claim_folder(self) -> None:
        from nerfgen_ns.utils.files import read_json, write_json

        if self.training_minutes <= 0:
            raise UsageError(f"--training-minutes must be above 0, got {self.training_minutes}")
        if self.identities < 2:
            raise UsageError(f"--identities must be at least 2, got {self.identities}")
        check_picture_size(self.picture_size)
        if self.output_dir.is_file():
            raise UsageError(f"{self.output_dir}: is a file; choose another --output-dir")
        path = self.output_dir / "demo.json"
        options = {**asdict(self), "version": version("nerfgen-ns")}
        del options["output_dir"], options["view"]
        if not path.exists():
            write_json(path, options)
            return
        made_with = read_json(path)
        for name, value in options.items():
            if made_with.get(name) != value:
                raise UsageError(
                    f"{self.output_dir}: holds a demo made with {name} {made_with.get(name)}, not {value}; "
                    "choose another --output-dir or remove it"
                )


def background_options(made_class: EmbeddedClass) -> list[str]:
    """Return the options of `ns-train` for the background of the objects: learned, or of one color."""
    if made_class.solid_background is None:
        return []
    color = [str(share) for share in made_class.solid_background]
    return [
        *("--pipeline.model.background.learned", "False"),
        *("--pipeline.model.background.solid-color", *color),
    ]


class Stages:
    """The stages of a demo; each leaves files that a later call finds.

    Args:
        options: the options of the command.
    """

    def __init__(self, options: Demo) -> None:
        from rich.console import Console

        from nerfgen_ns.synthetic.dataset import CLASSES

        self.options = options
        self.console = Console(highlight=False)
        folder = options.output_dir
        self.train_folder, self.test_folder = folder / "train", folder / "test"
        self.trained = folder / "trained.json"
        self.metrics = folder / "metrics.json"
        self.turning, self.morph = folder / "turning.mp4", folder / "morph.mp4"
        self.sheet = folder / "contact_sheet.png"
        self.training = Training(
            self.train_folder,
            folder,
            minutes=options.training_minutes,
            downscale_factor=DOWNSCALE_FACTOR,
            options=("--steps-per-save", "2000", *background_options(CLASSES[options.class_name])),
        )

    @cached_property
    def loaded_run(self) -> Run:
        """Return the trained run, loaded once."""
        from nerfgen_ns.runs.loading import load_run

        return load_run(self.training.load_config)

    def run(self) -> None:
        """Run all stages in order."""
        options = self.options
        test_identities = min(TEST_IDENTITIES, options.identities)
        self._images("training images", self.train_folder, options.identities, 1)
        self._images("test images", self.test_folder, test_identities, TEST_VIEWS)
        self._stage("trained run", self.trained, self._train)
        self._stage("figures", self.metrics, self._measure)
        self._stage("contact sheet", self.sheet, self._draw_sheet)
        self._stage("turning video", self.turning, self._film_turning)
        self._stage("morph video", self.morph, self._film_morph)
        self._report()

    def _stage(self, name: str, product: Path, make: Callable[[Path], None]) -> None:
        if product.exists():
            self._say_used_again(name)
        else:
            make(product)

    def _say_used_again(self, name: str) -> None:
        self.console.print(f"{name}: there already, used again")

    def _images(self, name: str, folder: Path, identities: int, views: int) -> None:
        from nerfgen_ns.synthetic.dataset import write_dataset

        if folder.exists():
            self._say_used_again(name)
        # If the folder exists already, this checks that it holds the same data set.
        write_dataset(
            folder, identities, views, IMAGE_SIZE, progress=True, class_name=self.options.class_name
        )

    def _train(self, product: Path) -> None:
        from nerfgen_ns.utils.files import write_json

        # Products of an earlier training do not belong to this one.
        for later in (self.metrics, self.sheet, self.turning, self.morph):
            later.unlink(missing_ok=True)
        self.training.run(show_progress=True)
        write_json(product, self.training.figures())

    def _measure(self, product: Path) -> None:
        from nerfgen_ns.evaluation.comparisons import evaluate_views
        from nerfgen_ns.utils.files import read_json, write_json

        with progress_bar("Rendering reconstructions") as progress:
            reconstruction = evaluate_views(
                self.loaded_run, self.train_folder, DOWNSCALE_FACTOR, RECONSTRUCTIONS, progress
            )
        with progress_bar("Rendering new views") as progress:
            new_views = evaluate_views(self.loaded_run, self.test_folder, DOWNSCALE_FACTOR, progress=progress)
        figures = {
            "training": read_json(self.trained),
            "reconstruction": reconstruction,
            "new_views": new_views,
        }
        write_json(product, figures)

    def _shown(self, count: int) -> list[int]:
        return list(range(min(count, self.options.identities)))

    def _draw_sheet(self, product: Path) -> None:
        from nerfgen_ns.utils.images import write_image
        from nerfgen_ns.visualization.contact_sheets import identity_sheet

        with progress_bar("Drawing the contact sheet") as progress:
            sheet = identity_sheet(
                self.loaded_run,
                self.loaded_run.open_photographs(),
                self._shown(SHEET_IDENTITIES),
                self.options.picture_size,
                progress,
            )
        write_image(product, sheet)

    def _film_turning(self, product: Path) -> None:
        from nerfgen_ns.visualization.contact_sheets import turning

        self._film(
            product, f"Filming {self.options.class_name} that turn", turning, self._shown(VIDEO_IDENTITIES)
        )

    def _film_morph(self, product: Path) -> None:
        from nerfgen_ns.visualization.contact_sheets import morph

        self._film(product, "Filming a morph", morph, self._shown(VIDEO_IDENTITIES))

    def _film(self, product: Path, name: str, make: Callable[..., Any], identities: list[int]) -> None:
        from nerfgen_ns.utils.images import write_video

        with progress_bar(name) as progress:
            frames = make(
                self.loaded_run, self.loaded_run.codes[identities], self.options.picture_size, FRAMES
            )
            write_video(product, counted(frames, FRAMES, progress), fps=16)

    def _report(self) -> None:
        from rich.table import Table

        from nerfgen_ns.utils.files import read_json

        figures = read_json(self.metrics)
        training, new_views = figures["training"], figures["new_views"]
        table = Table("measured", "figure")
        table.add_row(
            "training", f"{training['steps']:,} steps, {training['rays_per_second']:,.0f} rays a second"
        )
        table.add_row("reconstruction of training images", f"{figures['reconstruction']['psnr']:.2f} dB")
        table.add_row(
            f"new views of the same {self.options.class_name}, foreground",
            f"{new_views['foreground_psnr']:.2f} dB",
        )
        table.add_row("depth of new views, correlation", f"{new_views['depth_correlation']:.3f}")
        self.console.print(table)
        for name, path in {
            "turning video": self.turning,
            "morph video": self.morph,
            "contact sheet": self.sheet,
            "figures": self.metrics,
            "run": self.training.load_config,
        }.items():
            self.console.print(f"{name + ':':15}{path}", soft_wrap=True, markup=False)
