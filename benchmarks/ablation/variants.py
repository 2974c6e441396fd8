"""What is varied: each ablation is a list of variants that differ from the defaults in one thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

AblationName = Literal["losses", "images", "latent", "cameras", "geometry", "detail"]
CameraSource = Literal["true", "exact landmarks", "MediaPipe's landmarks"]
DEFAULTS = "as it is"
"""The variant that has all defaults. It is trained once for all ablations."""
HEAVIER_LOSSES = (
    *("--pipeline.model.losses.background-weight", "1"),
    *("--pipeline.model.losses.mask-loss-mult", "1"),
    *("--pipeline.model.losses.hard-surface-loss-mult", "0.1"),
)
"""The weights that `nerfgen` and `nerfgen-hq` begin with."""


FIELD, SAMPLER = "--pipeline.model.foreground", "--pipeline.model.sampler"
FITTED = "from MediaPipe's landmarks"
LANDMARK_DEPTH = ("--pipeline.datamanager.pixel-sampler.landmark-fraction", "0.1")
MIRROR = ("--pipeline.model.symmetry.mirrored-share", "0.5")
SMOOTH_NORMALS = (
    *("--pipeline.datamanager.pixel-sampler.patch-fraction", "0.33"),
    *("--pipeline.datamanager.pixel-sampler.patch-size", "8"),
    *("--pipeline.datamanager.pixel-sampler.patch-stride", "4"),
    *("--pipeline.model.losses.normal-smoothness-loss-mult", "0.003"),
)
CAMERA_OPTIMIZER = ("--pipeline.model.camera-optimizer.mode", "SO3xR3")


@dataclass(frozen=True)
class Variant:
    """One row of an ablation's table."""

    name: str
    """The row's name."""
    options: tuple[str, ...] = ()
    """Further options of `ns-train`, each name followed by its values."""
    images: int | None = None
    """How many photographs are trained on; None: as many as the command says."""
    cameras: CameraSource = "true"
    """Where the cameras come from."""
    place: float | None = None
    """Its position on the ablation's axis."""


@dataclass(frozen=True)
class Ablation:
    """One table and one plot."""

    name: AblationName
    """As `--only` takes it."""
    title: str
    """Its heading."""
    question: str
    """The question that it answers."""
    variants: tuple[Variant, ...]
    """The rows."""
    axis: str | None = None
    """The label of the plot's axis, if it has one; None: the variants are drawn side by side."""
    reference: str = DEFAULTS
    """The variant that the others are compared with."""


def ablations(
    images: int, numbers_of_images: Sequence[int], latent_size: int, latent_sizes: Sequence[int]
) -> dict[AblationName, Ablation]:
    """Return all ablations by name, each with the command's defaults among its variants.

    Args:
        images: how many photographs the command trains on.
        numbers_of_images: to vary; `images` joins them.
        latent_size: of the method by default.
        latent_sizes: to vary; `latent_size` joins them.
    """
    made = (
        Ablation(
            "losses",
            "Losses, the background field and the mirror",
            "Do the losses, the background field and the mirror improve the result?",
            (
                Variant(DEFAULTS),
                Variant("without hard-surface loss", ("--pipeline.model.losses.hard-surface-loss-mult", "0")),
                Variant("without mask loss", ("--pipeline.model.losses.mask-loss-mult", "0")),
                Variant("without background field", ("--pipeline.model.background.learned", "False")),
                Variant("heavier losses of the shape", HEAVIER_LOSSES),
                Variant("with the mirror", MIRROR),
            ),
        ),
        Ablation(
            "images",
            "Number of photographs",
            "LOLNeRF (CVPR 2022) found that few photographs reconstruct well with unreasonable geometry, and "
            "that more trade a little reconstruction for much better shape. All are trained equally long and "
            "judged on the same identities.",
            tuple(
                Variant(f"{number:,} photographs", images=number, place=number)
                for number in sorted({*numbers_of_images, images})
            ),
            axis="photographs, one per identity",
            reference=f"{images:,} photographs",
        ),
        Ablation(
            "latent",
            "Size of a latent code",
            "How large does a latent code have to be?",
            tuple(
                Variant(
                    f"{size} numbers",
                    () if size == latent_size else ("--pipeline.model.latent-dim", str(size)),
                    place=size,
                )
                for size in sorted({*latent_sizes, latent_size})
            ),
            axis="numbers in a latent code",
            reference=f"{latent_size} numbers",
        ),
        Ablation(
            "cameras",
            "Cameras from landmarks",
            "What do cameras cost that are fitted to landmarks? New views are judged with each identity's "
            "test cameras aligned by its own training camera; beside it, with one alignment for the whole "
            "collection.",
            tuple(
                Variant("true cameras" if source == "true" else f"from {source}", cameras=source)
                for source in get_args(CameraSource)
            ),
            reference="true cameras",
        ),
        Ablation(
            "geometry",
            "Shape from fitted cameras",
            "Which parts improve the shape where cameras are fitted and most photographs are nearly frontal?",
            tuple(
                Variant(name, options, cameras="MediaPipe's landmarks")
                for name, options in {
                    FITTED: (),
                    "with the depth of landmarks": LANDMARK_DEPTH,
                    "with smooth normals": SMOOTH_NORMALS,
                    "with the mirror": MIRROR,
                    "with the camera optimizer": CAMERA_OPTIMIZER,
                    "with all three": (*LANDMARK_DEPTH, *MIRROR, *CAMERA_OPTIMIZER),
                }.items()
            ),
            reference=FITTED,
        ),
        Ablation(
            "detail",
            "Detail",
            "Which sizes give most detail in the same time?",
            (
                Variant(DEFAULTS),
                Variant("the code in two layers alone", (f"{FIELD}.code-in-every-layer", "False")),
                Variant("two frequencies more", (f"{FIELD}.num-frequencies", "6")),
                Variant(
                    "two frequencies more, in the color alone",
                    (f"{FIELD}.num-frequencies", "6", f"{FIELD}.density-frequencies", "4"),
                ),
                Variant("twice the width", (f"{FIELD}.hidden-dim", "128")),
                Variant("half the samples", (f"{SAMPLER}.num-samples", "8")),
                Variant(
                    "half the samples, around the depth of the last visit",
                    (f"{SAMPLER}.num-samples", "8", f"{SAMPLER}.depth-memory", "True"),
                ),
                Variant("a finer grid", (f"{SAMPLER}.grid-resolution", "96")),
            ),
        ),
    )
    return {ablation.name: ablation for ablation in made}
