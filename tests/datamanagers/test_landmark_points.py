"""Rays through landmarks: their pixels and distances are those of the points in the class frame."""

import json

import numpy as np
import pytest
import torch

from nerfgen_ns.datamanagers.data_manager import NerfgenDataManagerConfig
from nerfgen_ns.datamanagers.data_parser import NerfgenDataParserConfig
from nerfgen_ns.datamanagers.dataset import NerfgenDataset
from nerfgen_ns.datamanagers.landmark_points import LandmarkPoints
from nerfgen_ns.datamanagers.pixel_sampler import ImagewisePixelSamplerConfig
from nerfgen_ns.datamanagers.pixel_store import PixelStore
from nerfgen_ns.datamanagers.ray_generator import PixelRays
from nerfgen_ns.errors import UsageError

SIZES = [(96, 80), (64, 64), (120, 96)]
FRONT, BACK = [0.1, 0.2, 0.5], [0.0, 0.0, -0.5]


@pytest.fixture
def prepared(make_prepared):
    """A prepared folder with a landmark in front and one behind; the first mode moves the one in front."""
    folder = make_prepared(SIZES)
    transforms = json.loads((folder / "transforms.json").read_text())
    for number, frame in enumerate(transforms["frames"]):
        frame["coefficients"] = [0.5 * number]
    (folder / "transforms.json").write_text(json.dumps(transforms))
    canonical = {
        "landmarks": [FRONT, BACK],
        "basis": [[[0.0, 0.0, 0.1], [0.0, 0.0, 0.0]]],
        "parity": [1],
        "noise_std": [0.01, 0.01],
        "depth_noise_std": [0.04, 0.05],
        "independence": 1.0,
    }
    (folder / "canonical_landmarks.json").write_text(json.dumps(canonical))
    return folder


def opened(folder, **options):
    parser = NerfgenDataParserConfig(data=folder, **options).setup()
    return parser.record, NerfgenDataset(parser.get_dataparser_outputs("train"))


@pytest.mark.parametrize("factor", [1, 2])
def test_the_ray_of_a_landmarks_pixel_ends_at_the_landmark(prepared, factor):
    record, dataset = opened(prepared, downscale_factor=factor)
    images = torch.arange(3).repeat(20)
    seen = LandmarkPoints(record, dataset.cameras).draw(images, torch.Generator().manual_seed(0))
    visible = seen.std[:, 0].isfinite()
    assert visible.any() and not visible.all(), "only the landmark in front is visible"
    assert torch.allclose(seen.std[visible], torch.tensor(0.04))
    rays = PixelRays(dataset.cameras)(torch.cat([images[:, None], seen.pixels], dim=1))
    ends = (rays.origins + rays.directions * seen.distance)[visible]
    expected = torch.tensor(FRONT) + 0.5 * images[visible, None] * torch.tensor([0.0, 0.0, 0.1])
    # A pixel is as wide as its photograph's, at most, at this distance: 1 / (2.1 · 32) · 3.
    assert (ends - expected).norm(dim=-1).max() < 0.04
    assert (ends - expected).norm(dim=-1).max() > 0.0


def test_a_share_of_a_batch_goes_through_landmarks_and_has_the_pixels_colors(prepared):
    record, dataset = opened(prepared)
    store = PixelStore(dataset, np.arange(3))
    sampler = ImagewisePixelSamplerConfig(landmark_fraction=0.25).setup(num_rays_per_batch=4000)
    assert "distance" not in sampler.sample(store)
    sampler.landmarks = LandmarkPoints(record, dataset.cameras)
    batch = sampler.sample(store)
    # Half of the landmarks that are drawn are hidden.
    assert 0.09 < batch["distance_std"].isfinite().float().mean() < 0.16
    again = store.gather(batch["indices"])
    assert torch.equal(batch["image"], again["image"]) and torch.equal(batch["matte"], again["matte"])


def test_data_without_landmarks_is_refused(make_prepared):
    record, dataset = opened(make_prepared(SIZES))
    with pytest.raises(UsageError, match=r"canonical_landmarks\.json.*landmark-fraction"):
        LandmarkPoints(record, dataset.cameras)


@pytest.mark.parametrize("has_landmarks", [True, False])
def test_a_training_has_rays_through_landmarks_where_the_data_has_landmarks(prepared, has_landmarks):
    if not has_landmarks:
        (prepared / "canonical_landmarks.json").unlink()
    config = NerfgenDataManagerConfig(
        dataparser=NerfgenDataParserConfig(data=prepared),
        train_num_rays_per_batch=64,
        pixel_sampler=ImagewisePixelSamplerConfig(landmark_fraction=0.5),
    )
    _, batch = config.setup(device="cpu", test_mode="val").next_train(0)
    assert ("distance" in batch) == has_landmarks


def test_the_loss_of_a_depth_is_that_of_huber_and_zero_where_nothing_is_known():
    from nerfgen_ns.model.losses import landmark_depth_loss

    depth = torch.tensor([[2.0], [2.5], [9.0]], requires_grad=True)
    distance = torch.tensor([[2.1], [2.0], [0.0]])
    std = torch.tensor([[0.2], [0.1], [torch.inf]])
    loss = landmark_depth_loss(depth, distance, std)
    assert loss.item() == pytest.approx((0.5 * 0.5**2 + (5.0 - 0.5)) / 3)
    loss.backward()
    assert depth.grad is not None and depth.grad[2] == 0.0 and depth.grad[0] < 0.0
