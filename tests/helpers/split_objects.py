"""A ball with known parts, and a model that shows it."""

import torch
from torch import Tensor

from nerfgen_ns.dataset_format.label_maps import Legend
from nerfgen_ns.fields.foreground import ForegroundField, LatentTerms
from nerfgen_ns.fields.heads import LabelHead, LabelHeadConfig
from nerfgen_ns.model.model import NerfgenModel
from tests.helpers.small_models import make_model

LEGEND = Legend.of_names(["background", "front", "back", "inside"])
RADIUS = 0.5
FRONT_COLOR, BACK_COLOR = (0.2, 0.4, 0.1), (0.6, 0.6, 0.6)


class Ball(ForegroundField):
    """A solid ball around the origin; its front, toward +z, has another color than its back."""

    def density(self, positions: Tensor, terms: LatentTerms) -> Tensor:
        return 100.0 * torch.sigmoid(50.0 * (RADIUS - positions.norm(dim=-1)))

    def with_features(self, positions, terms, keep=True):
        front = positions[..., 2:] > 0
        colors = torch.where(front, positions.new_tensor(FRONT_COLOR), positions.new_tensor(BACK_COLOR))
        features = positions.new_zeros(*positions.shape[:-1], self.density_head.in_features)
        return self.density(positions, terms), colors, features if keep else None


class Sides(LabelHead):
    """Tells the front from the back by places, with a probability of 0.98; nothing is `inside`."""

    def forward(self, features: Tensor, positions: Tensor) -> Tensor:
        front = 0.02 + 0.96 * torch.sigmoid(100.0 * positions[:, 2])
        return torch.stack([0.0 * front, front, 1.0 - front, 0.0 * front], dim=-1)


def ball_model(**options) -> NerfgenModel:
    """A model in evaluation mode that shows the ball with its labels, whatever the code, before black."""
    model = make_model(
        background__learned=False,
        background__solid_color=(0.0, 0.0, 0.0),
        **{"sampler__kind": "uniform", "sampler__num_samples": 256, **options},
    ).eval()
    ball = Ball(model.config.foreground, model.config.latent_dim)
    model.foreground_field, model.ray_renderer._field = ball, (ball,)
    tell_sides(model)
    return model


def tell_sides(model: NerfgenModel) -> None:
    """Give a model labels of the front and the back."""
    model.config.label_head = LabelHeadConfig(names=LEGEND.names, colors=LEGEND.colors)
    model.label_head = Sides(model.config.label_head, model.config.foreground.hidden_dim)
