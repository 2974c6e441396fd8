"""The protocol `features`: whether two views agree on features, and whether these find the same parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.dataset_format.label_maps import BACKGROUND, UNLABELED
from nerfgen_ns.errors import NerfgenError
from nerfgen_ns.evaluation.comparisons import row_of
from nerfgen_ns.evaluation.protocol import (
    Evaluation,
    Figure,
    Picture,
    Progress,
    ProtocolResult,
    mean_figure,
)
from nerfgen_ns.evaluation.protocols.labels import camera_of_labels
from nerfgen_ns.evaluation.renders import SAME_POINTS, view_pairs
from nerfgen_ns.metrics.geometry import surface_seen_again
from nerfgen_ns.rendering.volume_rendering import VISIBLE
from nerfgen_ns.runs.run import Run
from nerfgen_ns.semantics.distillation import extractor_of, features_at
from nerfgen_ns.semantics.finding import seen_by
from nerfgen_ns.utils.images import to_bytes

POINTS = 256
"""Surface points of a pair of views that are looked for in the other view."""
NEAR = 0.05
"""How far from its true place a point may be found, as a share of the width."""
POINTS_OF_LABEL = 4
"""Points of each label of a photograph."""
RETRIEVED = 10
"""How many points of other photographs a point retrieves."""
PICTURED = 4
"""Objects that are shown."""
OnImage = Callable[[np.ndarray], Float[Tensor, "rows columns dims"]]


class Features:
    """How well features hold from other sides and on other objects.

    Source: Tschernezki et al., "Neural Feature Fusion Fields" (3DV 2022), section 4, which judges retrieval
    with few labels. The agreement of two views is ours. The baseline is the 2D extractor itself, on the same
    renders and photographs, reduced by the same PCA.
    """

    name: ClassVar[str] = "features"
    needs_test_folder: ClassVar[bool] = False

    def missing(self, setting: Evaluation) -> str | None:
        """Return None if the run tells features; otherwise say what is missing."""
        if setting.run.model.feature_head is None:
            return "the run has no features; make a run that has them with nerfgen distill"
        return None

    def run(self, setting: Evaluation, progress: Progress) -> ProtocolResult:
        """Compare the features of surface points from two sides, and of points with the same label."""
        run, head = setting.run, setting.run.feature_head
        extract: OnImage | None = None
        reason = ""
        try:
            extractor = extractor_of(run)
        except NerfgenError as error:
            reason = str(error)
        else:

            def extract(image: np.ndarray) -> Float[Tensor, "rows columns dims"]:
                return head.reduce(torch.from_numpy(extractor(image)).to(head.mean)).cpu()

        figures, pictures = agreement_figures(setting, extract, reason, progress)
        figures += retrieval_figures(setting, extract, reason, progress)
        return ProtocolResult(
            protocol=self.name,
            source="N3F (3DV 2022), section 4; the agreement is ours",
            settings={
                "extractor": head.extractor,
                "dims": head.dims,
                "downscale_factor": setting.downscale_factor,
            },
            figures=figures,
            pictures=pictures,
        )


@dataclass
class Agreements:
    """How features of surface points agree between two views, for each pair of views."""

    same: list[float] = field(default_factory=list)
    """The mean cosine of the same points."""
    different: list[float] = field(default_factory=list)
    """The mean cosine of different points."""
    found: list[float] = field(default_factory=list)
    """The share of the points whose most similar pixel of the other view is near their place there."""

    def add(
        self,
        first: Float[Tensor, "height width dims"],
        second: Float[Tensor, "height width dims"],
        both: Bool[Tensor, "height width"],
        place: Float[Tensor, "height width 2"],
        on_object: Bool[Tensor, "height width"],
    ) -> None:
        """Compare two views.

        Args:
            first: features of the first view, at each pixel.
            second: those of the second.
            both: the pixels of the first whose surface point the second shows.
            place: where it shows it, in pixels.
            on_object: the pixels of the second that show the object.
        """
        if not bool(both.any()):
            return
        height, width = both.shape
        places = place[both]
        own = F.normalize(first[both], dim=-1)
        again = F.normalize(features_at(second, places / places.new_tensor([width, height])), dim=-1)
        self.same.append(float((own * again).sum(dim=-1).mean()))
        generator = torch.Generator().manual_seed(0)
        order = torch.randperm(len(own), generator=generator)
        self.different.append(float((own * again[order]).sum(dim=-1).mean()))
        chosen = order[:POINTS]
        rows, columns = on_object.nonzero(as_tuple=True)
        best = (own[chosen] @ F.normalize(second[on_object], dim=-1).T).argmax(dim=-1)
        found = torch.stack([columns[best], rows[best]], dim=-1) + 0.5
        distances = (found - places[chosen]).norm(dim=-1)
        self.found.append(float((distances <= NEAR * width).double().mean()))


def agreement_figures(
    setting: Evaluation, extract: OnImage | None, reason: str, progress: Progress
) -> tuple[list[Figure], list[Picture]]:
    """Return how features of one surface point agree from two sides: the run's and the extractor's."""
    own, flat = Agreements(), Agreements()
    pictures: list[Picture] = []
    pairs = view_pairs(setting.run, setting.downscale_factor, progress, raw_features=True)
    for pair, (first, second) in pairs:
        both, place = surface_seen_again(first, pair[0], second, pair[1])
        on_object = second["accumulation"][..., 0] > VISIBLE
        if not bool(on_object.any()):
            continue
        own.add(first["raw_features"], second["raw_features"], both, place, on_object)
        if extract is not None:
            views = [_at_pixels(extract(to_bytes(outputs["rgb"])), both) for outputs in (first, second)]
            flat.add(views[0], views[1], both, place, on_object)
        if len(pictures) < PICTURED:
            row = [to_bytes(outputs[name]) for outputs in (first, second) for name in ("rgb", "features")]
            pictures.append(Picture("two views and their features", row_of(row)))
    figures = []
    for who, values, why in (("", own, ""), (", of the 2D extractor", flat, reason)):
        apart = f"; different points: {np.mean(values.different):.3f}" if values.different else ""
        note = SAME_POINTS + apart if not who else f"baseline, on the renders{apart}"
        figures.append(mean_figure(f"agreement of two views{who}", values.same, "", "higher", note, why))
        note = f"share of points whose most similar pixel is within {NEAR:.0%} of the width"
        name = f"points found again in the other view{who}"
        figures.append(mean_figure(name, values.found, "", "higher", note, why))
    return figures, pictures


def _at_pixels(
    grid: Float[Tensor, "rows columns dims"], like: Bool[Tensor, "height width"]
) -> Float[Tensor, "height width dims"]:
    """Return the features of the pixels of a picture, interpolated between the cells of a grid."""
    height, width = like.shape
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([(columns + 0.5) / width, (rows + 0.5) / height], dim=-1)
    return features_at(grid, places.view(-1, 2)).view(height, width, -1)


@dataclass
class LabeledPoints:
    """Points of photographs whose labels are known."""

    features: list[Float[Tensor, "n dims"]] = field(default_factory=list)
    """Those of the run."""
    flat: list[Float[Tensor, "n dims"]] = field(default_factory=list)
    """Those of the extractor."""
    labels: list[Int[Tensor, " n"]] = field(default_factory=list)
    identities: list[Int[Tensor, " n"]] = field(default_factory=list)


def retrieval_figures(
    setting: Evaluation, extract: OnImage | None, reason: str, progress: Progress
) -> list[Figure]:
    """Return how many of the points that a point retrieves from other objects have its label."""
    assert setting.renders is not None
    run, renders = setting.run, setting.renders
    folder = renders.folder
    views = renders.of(["training photographs"])
    name = f"retrieval precision at {RETRIEVED}"
    without = folder.missing("semantics", [view.number for view in views])
    if without is not None or not views:
        return [Figure(name, None, "", "higher", 0, without or "there are no training photographs")]
    points = LabeledPoints()
    generator = np.random.default_rng(setting.seed)
    background = folder.labels.index(BACKGROUND) if BACKGROUND in folder.labels else 0
    for done, view in enumerate(views, start=1):
        camera = camera_of_labels(renders.camera_of(view), folder.frames[view.number].w)
        image = None if extract is None else extract(folder.dataset.get_numpy_image(view.number))
        truth = folder.semantics(view.number)
        row = int(run.record.rows[view.number])
        _add_points(points, run, renders.code_of(view), camera, truth, background, image, row, generator)
        progress(done, len(views))
    if not points.labels:
        return [Figure(name, None, "", "higher", 0, "no labeled pixel shows an object")]
    labels, identities = torch.cat(points.labels), torch.cat(points.identities)
    figures = []
    for who, features, why in (("", points.features, ""), (", of the 2D extractor", points.flat, reason)):
        if not features:
            figures.append(Figure(f"{name}{who}", None, "", "higher", 0, why))
            continue
        precision, chance = retrieval_precision(torch.cat(features), labels, identities, RETRIEVED)
        note = f"mean over {len(labels.unique())} labels; by chance {chance:.3f}"
        note = note if not who else f"baseline, on the photographs; {note}"
        figures.append(Figure(f"{name}{who}", precision, "", "higher", len(labels), note))
    return figures


def _add_points(
    points: LabeledPoints,
    run: Run,
    code: Float[Tensor, "1 latent"],
    camera: Cameras,
    truth: Int[Tensor, "height width"],
    background: int,
    image: Float[Tensor, "rows columns dims"] | None,
    identity: int,
    generator: np.random.Generator,
) -> None:
    seen = seen_by(run, code, camera)
    height, width = truth.shape
    shown = (seen.accumulation > VISIBLE).cpu().view(height, width)
    for label in truth[shown].unique().tolist():
        if label in (background, UNLABELED):
            continue
        places = ((truth == label) & shown).nonzero()
        own = places[generator.permutation(len(places))[:POINTS_OF_LABEL]]
        points.features.append(seen.features[own[:, 0] * width + own[:, 1]].cpu())
        if image is not None:
            points.flat.append(features_at(image, (own.flip(-1) + 0.5) / torch.tensor([width, height])))
        points.labels.append(torch.full((len(own),), label))
        points.identities.append(torch.full((len(own),), identity))


def retrieval_precision(
    features: Float[Tensor, "n dims"],
    labels: Int[Tensor, " n"],
    identities: Int[Tensor, " n"],
    count: int,
) -> tuple[float, float]:
    """Return the share of the most similar points of other objects that have a point's label, and its chance.

    Both are means over labels of the means over points.

    Args:
        features: of the points.
        labels: of the points.
        identities: the object of each.
        count: how many are retrieved.
    """
    directions = F.normalize(features, dim=-1)
    cosines = directions @ directions.T
    others = identities[:, None] != identities[None]
    same = labels[:, None] == labels[None]
    best = cosines.masked_fill(~others, -2.0).topk(min(count, len(labels)), dim=-1).indices
    there = others.gather(1, best)
    hits = (same.gather(1, best) & there).sum(dim=-1) / there.sum(dim=-1).clamp(min=1)
    chance = (same & others).sum(dim=-1) / others.sum(dim=-1).clamp(min=1)
    kinds = labels.unique().tolist()
    means = [[float(values[labels == kind].mean()) for kind in kinds] for values in (hits, chance)]
    return float(np.mean(means[0])), float(np.mean(means[1]))
