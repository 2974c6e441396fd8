"""Metrics of labels: known answers."""

import math

import torch

from nerfgen_ns.metrics.labels import confusion, label_agreement, label_ious, mean_iou
from tests.helpers.small_models import make_camera


def test_intersections_over_unions_of_a_known_pair() -> None:
    truth = torch.tensor([[0, 0, 1, 1], [2, 2, 255, 255]])
    labels = torch.tensor([[0, 1, 1, 1], [2, 0, 0, 2]])
    confused = confusion(labels, truth, 4)
    assert confused.sum() == 6 and confused[0].tolist() == [1, 1, 0, 0]
    ious = label_ious(confused)
    torch.testing.assert_close(ious[:3], torch.tensor([1 / 3, 2 / 3, 1 / 2], dtype=torch.double))
    assert math.isnan(float(ious[3]))
    assert abs(mean_iou(confused) - 0.5) < 1e-9
    assert math.isnan(mean_iou(torch.zeros(2, 2, dtype=torch.long)))


def test_labels_of_one_surface_from_two_sides_agree_where_they_are_the_same() -> None:
    cameras = [make_camera(16, 16, yaw) for yaw in (-0.2, 0.2)]
    outputs, labels = [], []
    for camera in cameras:
        rays = camera.generate_rays(camera_indices=0, keep_shape=True)
        distance = -rays.origins[..., 2:] / rays.directions[..., 2:]  # the plane z = 0
        outputs.append({"depth": distance, "accumulation": torch.ones_like(distance)})
        labels.append((rays.origins + distance * rays.directions)[..., 0].gt(0).long())
    same = label_agreement(outputs[0], labels[0], cameras[0], outputs[1], labels[1], cameras[1])
    assert same > 0.9
    other = label_agreement(outputs[0], labels[0], cameras[0], outputs[1], 1 - labels[1], cameras[1])
    assert abs(same + other - 1.0) < 1e-9
