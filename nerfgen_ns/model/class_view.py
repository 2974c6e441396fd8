"""A class model with the cameras of its photographs: what pictures of a class are made from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from nerfgen_ns.dataset_format.label_maps import BACKGROUND, Legend
from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.fields.heads import FeatureHead
from nerfgen_ns.fields.query import Query
from nerfgen_ns.fields.regions import LUMINANCE, RegionConfig
from nerfgen_ns.model.model import NerfgenModel
from nerfgen_ns.rendering.volume_rendering import VISIBLE
from nerfgen_ns.utils.spacing import evenly_spaced


def legend_of(model: NerfgenModel) -> Legend | None:
    """Return the labels that a model tells; None if it tells none."""
    head = model.config.label_head
    return None if head is None else Legend(head.names, head.colors)


def require_legend(model: NerfgenModel) -> Legend:
    """Return the labels that a model tells.

    Raises:
        UsageError: it tells none.
    """
    legend = legend_of(model)
    if legend is None:
        raise UsageError("the run has no labels; make a run that has them with nerfgen label")
    return legend


class RayLabel(NamedTuple):
    """What a ray meets."""

    name: str
    """The most probable label."""
    confidence: float
    """Its probability."""
    point: Float[Tensor, "3"]
    """Where, in the class frame; without meaning for the background."""

    @property
    def is_background(self) -> bool:
        """Return whether the ray misses the object."""
        return self.name == BACKGROUND


@torch.no_grad()
def label_of_ray(
    model: NerfgenModel,
    code: Float[Tensor, "1 latent"],
    origin: Float[Tensor, "3"],
    direction: Float[Tensor, "3"],
    region: RegionConfig | None = None,
    query: Query | None = None,
) -> RayLabel:
    """Return the label of what a ray of the class frame meets.

    Args:
        model: a model with labels, in evaluation mode.
        code: a latent code.
        origin: where the ray begins.
        direction: where it goes, of any length.
        region: what is done to parts of the object, if not what the configuration says.
        query: what a region without labels is, if not the run's own query.

    Raises:
        UsageError: the model has no labels.
    """
    legend = require_legend(model)
    direction = F.normalize(direction, dim=0)
    rays = RayBundle(origin[None], direction[None], torch.ones(1, 1)).to(model.device)
    outputs = model.render(rays, code.to(model.device), probabilities=True, region=region, query=query)
    confidence, label = outputs["label_probabilities"][0].max(dim=0)
    point = origin + direction * outputs["depth"][0].to(origin)
    return RayLabel(legend.names[int(label)], float(confidence), point)


@torch.no_grad()
def query_of_ray(
    model: NerfgenModel,
    code: Float[Tensor, "1 latent"],
    origin: Float[Tensor, "3"],
    direction: Float[Tensor, "3"],
) -> Query:
    """Return what looks for the surface that a ray of the class frame meets; see `label_of_ray`.

    Raises:
        UsageError: the ray misses the object.
    """
    rays = RayBundle(origin[None], F.normalize(direction, dim=0)[None], torch.ones(1, 1)).to(model.device)
    outputs = model.render(rays, code.to(model.device), raw_features=True)
    if float(outputs["accumulation"]) < VISIBLE:
        raise UsageError("there is nothing but background; click on the object")
    return Query.of_features(outputs["raw_features"])


@dataclass(frozen=True)
class ClassView:
    """A class model, and the cameras that its photographs were taken by."""

    model: NerfgenModel
    """The class model, in evaluation mode."""
    cameras: Cameras
    """The camera of each photograph of the data, its row of the latent table under `metadata["cam_idx"]`."""

    @property
    def legend(self) -> Legend:
        """Return the labels that the model tells.

        Raises:
            UsageError: it tells none.
        """
        return require_legend(self.model)

    @property
    def feature_head(self) -> FeatureHead:
        """Return what tells the model's features.

        Raises:
            UsageError: it tells none.
        """
        if self.model.feature_head is None:
            raise UsageError("the run has no features; make a run that has them with nerfgen distill")
        return self.model.feature_head

    @property
    def codes(self) -> Float[Tensor, "identities latent"]:
        """Return the latent table."""
        return self.model.latent_table.codes.weight.detach()

    def code(self, identity: int) -> Float[Tensor, "1 latent"]:
        """Look up the latent code of an identity, a row of the latent table.

        Raises:
            UsageError: the identity does not exist.
        """
        return self.model.latent_table.row(identity).detach()

    def render(
        self,
        code: Float[Tensor, "1 latent"],
        camera: Cameras,
        probabilities: bool = False,
        query: Query | None = None,
    ) -> dict[str, Tensor]:
        """Render all outputs of the model for one camera, each of shape (height, width, channels).

        Args:
            code: a latent code.
            camera: nerfstudio's cameras, of shape (1,).
            probabilities: whether to return the probability of each label, "label_probabilities".
            query: what the output `similarity` looks for, of a model with features.

        Raises:
            UsageError: the code has another size than the model's.
        """
        self.model.latent_table.check_code(code)
        return self.model.render_camera(
            camera, code.to(self.model.device), probabilities=probabilities, query=query
        )


MOST_OBJECTS, SIDE = 16, 48
"""Objects that are looked at for the luminance of a part, and pixels along the longer side of a render."""


def usual_luminance(view: ClassView, region: RegionConfig, query: Query | None = None) -> float:
    """Compute the mean luminance of a part in photographs' views of some objects, evenly spread.

    Args:
        view: a class with labels or features.
        region: what the part is made of; its effect does not matter.
        query: what a region without labels is, in place of the run's own query.

    Raises:
        NerfgenError: none of the objects shows the part.
    """
    alone = replace(region, effect="extract", color=None)
    brightness = area = 0.0
    assert view.cameras.metadata is not None
    rows = view.cameras.metadata["cam_idx"].flatten().tolist()
    for photograph in evenly_spaced(len(rows), MOST_OBJECTS).tolist():
        camera = view.cameras[photograph : photograph + 1]
        camera.rescale_output_resolution(SIDE / float(max(camera.width.max(), camera.height.max())))
        outputs = view.model.render_camera(camera, view.code(rows[photograph]), region=alone, query=query)
        colors = outputs["foreground"]
        brightness += float((colors * colors.new_tensor(LUMINANCE)).sum())
        area += float(outputs["accumulation"].sum())
    if area < 1.0:
        part = ", ".join(region.labels) or "what was looked for"
        raise NerfgenError(
            f"{part}: none of {min(len(rows), MOST_OBJECTS)} objects shows it; choose another part"
        )
    return max(brightness / area, 0.01)
