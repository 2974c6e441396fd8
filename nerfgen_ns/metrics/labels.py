"""Metrics of labels: intersection over union of each, and whether two views of a surface agree."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfgen_ns.dataset_format.label_maps import UNLABELED
from nerfgen_ns.metrics.geometry import surface_seen_again


def confusion(
    labels: Int[Tensor, "*pixels"], truth: Int[Tensor, "*pixels"], count: int
) -> Int[Tensor, "count count"]:
    """Count the pixels of each true label (rows) that got each label (columns); 255 is not counted."""
    known = truth != UNLABELED
    pairs = truth[known].long() * count + labels[known].long()
    return torch.bincount(pairs.flatten(), minlength=count * count).view(count, count)


def label_ious(confused: Int[Tensor, "count count"]) -> Float[Tensor, " count"]:
    """Return the intersection over union of each label; NaN where neither side has it."""
    both = confused.diagonal().double()
    return both / (confused.sum(dim=0) + confused.sum(dim=1) - both)


def mean_iou(confused: Int[Tensor, "count count"]) -> float:
    """Return the mean IoU over the labels that the truth has; NaN where it has none."""
    there = confused.sum(dim=1) > 0
    return float(label_ious(confused)[there].mean()) if bool(there.any()) else math.nan


def label_agreement(
    first: dict[str, Float[Tensor, "height width channels"]],
    first_labels: Int[Tensor, "height width"],
    first_camera: Cameras,
    second: dict[str, Float[Tensor, "height width channels"]],
    second_labels: Int[Tensor, "height width"],
    second_camera: Cameras,
) -> float:
    """Return the share of the surface points that two views show that have the same label in both.

    This measure is ours; the points are those of `geometry.view_agreement`.

    Args:
        first: outputs of the model: `accumulation` and `depth`, the distance along the ray.
        first_labels: the label of each of its pixels.
        first_camera: of shape (1,).
        second: the other view's outputs.
        second_labels: the label of each of its pixels.
        second_camera: of shape (1,).
    """
    both, place = surface_seen_again(first, first_camera, second, second_camera)
    column, row = place[both].floor().long().unbind(-1)
    height, width = second_labels.shape
    again = second_labels[row.clamp(0, height - 1), column.clamp(0, width - 1)]
    return float((first_labels[both] == again).double().mean())
