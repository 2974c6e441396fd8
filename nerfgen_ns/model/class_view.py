"""A class model with the cameras of its photographs: what pictures of a class are made from."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.dataset_format.label_maps import Legend
from nerfgen_ns.errors import UsageError
from nerfgen_ns.fields.heads import FeatureHead
from nerfgen_ns.fields.query import Query
from nerfgen_ns.model.model import NerfgenModel


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
        head = self.model.config.label_head
        if head is None:
            raise UsageError("the run has no labels; make a run that has them with nerfgen label")
        return Legend(head.names, head.colors)

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
        self, code: Float[Tensor, "1 latent"], camera: Cameras, query: Query | None = None
    ) -> dict[str, Tensor]:
        """Render all outputs of the model for one camera, each of shape (height, width, channels).

        Args:
            code: a latent code.
            camera: nerfstudio's cameras, of shape (1,).
            query: what the output `similarity` looks for, of a model with features.

        Raises:
            UsageError: the code has another size than the model's.
        """
        self.model.latent_table.check_code(code)
        return self.model.render_camera(camera, code.to(self.model.device), query=query)
