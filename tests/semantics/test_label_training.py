"""The training of a label head on samples, and the choice of pixels and photographs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nerfgen_ns.dataset_format.label_maps import UNLABELED
from nerfgen_ns.errors import UsageError
from nerfgen_ns.fields.heads import LabelHeadConfig
from nerfgen_ns.latents.latent_space import LatentSpace
from nerfgen_ns.rendering.volume_rendering import SeenSamples
from nerfgen_ns.runs.loading import load_run
from nerfgen_ns.semantics.config import LabelConfig
from nerfgen_ns.semantics.head_training import batch_of_samples, reordered
from nerfgen_ns.semantics.label_training import LabeledRays, choose_pixels, train_head
from nerfgen_ns.semantics.segmentation import SegmentationConfig, changed, segment, train_segmentation
from nerfgen_ns.semantics.suggestions import suggest_photographs


def rays_of_halves(count: int) -> LabeledRays:
    """Two samples a ray, left and right; the heavier one decides the label. A third of the rays miss."""
    generator = torch.Generator().manual_seed(0)
    rays = torch.arange(count).repeat_interleave(2)
    share = torch.rand(count, generator=generator)
    hit = torch.arange(count) % 3 > 0
    weights = (torch.stack([share, 1.0 - share], dim=1) * hit[:, None]).flatten()
    positions = torch.tensor([[-0.5, 0.0, 0.0], [0.5, 0.0, 0.0]]).repeat(count, 1)
    positions = positions + 0.2 * torch.randn(2 * count, 3, generator=generator)
    labels = torch.where(hit, torch.where(share > 0.5, 0, 1), 2)
    samples = SeenSamples(rays, weights, torch.zeros(2 * count, 4), positions)
    return LabeledRays(labels, torch.ones(count), samples)


def test_a_head_learns_what_decides_a_label_and_leaves_random_numbers_alone() -> None:
    rays = rays_of_halves(2000)
    config = LabelHeadConfig(names=("left", "right", "background"), colors=((0, 0, 0),) * 3, hidden_dim=16)
    head = config.setup(features=4)
    state = torch.get_rng_state()
    train_head(head, rays, LabelConfig(steps=100, rays=500, learning_rate=1e-2))
    assert torch.equal(torch.get_rng_state(), state)
    values = rays.samples.composite(head(rays.samples.features, rays.samples.positions), 2000)
    labels = head.with_background(values).argmax(dim=-1)
    assert float((labels == rays.labels).double().mean()) > 0.95


def test_a_batch_has_the_samples_of_its_own_rays() -> None:
    rays = rays_of_halves(10)
    batch = batch_of_samples(rays.samples, 4, 7)
    assert batch.rays.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(batch.positions, rays.samples.positions[8:14])


def test_chosen_rays_keep_their_samples_in_another_order() -> None:
    rays = rays_of_halves(10)
    chosen = reordered(rays.samples, torch.tensor([7, 2]), 10)
    assert chosen.rays.tolist() == [0, 0, 1, 1]
    assert torch.equal(
        chosen.positions, torch.cat([rays.samples.positions[14:16], rays.samples.positions[4:6]])
    )


def test_rare_labels_are_taken_whole_and_every_pixel_stands_for_as_many_as_are_left_out() -> None:
    label_map = np.zeros((40, 40), dtype=np.uint8)
    label_map[:5] = UNLABELED
    label_map[10, :6] = 3
    label_map[20:30] = 1
    places, weights = choose_pixels(label_map, 300, np.random.default_rng(0))
    labels = label_map[places[:, 0], places[:, 1]]
    assert len(places) <= 300 and (labels != UNLABELED).all()
    assert (labels == 3).sum() == 6
    for number in (0, 1, 3):
        np.testing.assert_allclose(weights[labels == number].sum(), (label_map == number).sum(), rtol=1e-5)
    assert len({tuple(place) for place in places.tolist()}) == len(places)


def test_suggestions_are_spread_and_never_labeled_already(trained_config: Path) -> None:
    run = load_run(trained_config)
    codes = torch.zeros(3, 96)
    codes[1, 0], codes[2, 0], codes[2, 1] = 1.0, 10.0, 3.0
    with torch.no_grad():
        run.model.latent_table.codes.weight.copy_(codes)
    rows = run.record.rows.tolist()
    chosen = [rows[number] for number in suggest_photographs(run, 3)]
    usual = LatentSpace.of(run.codes).mahalanobis(run.codes)
    assert sorted(chosen) == [0, 1, 2] and chosen[0] == int(usual.argmin())
    assert set(suggest_photographs(run, 2, labeled=[1])) == {0, 2}
    with pytest.raises(UsageError, match="--suggest"):
        suggest_photographs(run, 1, labeled=[0, 1, 2])
    with pytest.raises(UsageError, match="--suggest 0"):
        suggest_photographs(run, 0)


def test_a_2d_network_learns_colors_and_its_pictures_change_with_their_label_maps() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = (
        (torch.rand(6, 4, 4, generator=generator) > 0.5)
        .long()
        .repeat_interleave(6, 1)
        .repeat_interleave(12, 2)
    )
    images = torch.stack([truth, 1 - truth, 0 * truth], dim=1).float()
    pictures, labels = changed(images, truth)
    known = labels != UNLABELED
    agreeing = (pictures[:, 0] > pictures[:, 1]).long() == labels
    assert float(agreeing[known].double().mean()) > 0.9 and bool((~known).any())
    network = train_segmentation(images, truth, 2, SegmentationConfig(steps=30, width=4))
    own = segment(network, images[0].permute(1, 2, 0))
    assert float((own == truth[0]).double().mean()) > 0.9
