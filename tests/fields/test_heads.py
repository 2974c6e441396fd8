"""Heads: probabilities and features that are composited, and the options that make a head."""

import pytest
import torch

from nerfgen_ns.errors import UsageError
from nerfgen_ns.fields.heads import FeatureHeadConfig, LabelHead, LabelHeadConfig
from nerfgen_ns.rendering.volume_rendering import FAINT, seen_samples

NAMES = ("skin", "background", "hair")


def make_head() -> LabelHead:
    colors = ((255, 0, 0), (0, 0, 0), (0, 0, 255))
    return LabelHeadConfig(names=NAMES, colors=colors, hidden_dim=8).setup(features=4)


def test_the_background_has_what_the_samples_of_a_ray_leave() -> None:
    head = make_head()
    composited = torch.tensor([[0.5, 0.0, 0.25], [0.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    whole = head.with_background(composited)
    torch.testing.assert_close(whole, torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5]]))
    colors, confidence = head.shown(whole)
    torch.testing.assert_close(colors, torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 1.0]]))
    torch.testing.assert_close(confidence[:, 0], torch.tensor([0.5, 1.0, 0.5]))


def test_probabilities_of_rays_sum_to_one_and_hidden_samples_have_no_say() -> None:
    head = make_head()
    features, positions = torch.randn(4, 4), torch.rand(4, 3)
    weights = torch.tensor([0.7, 0.3, 0.0, 0.4])
    rays = torch.tensor([0, 0, 0, 1])

    def of_rays() -> torch.Tensor:
        samples = seen_samples(rays, weights, features, positions, 3)
        return head.with_background(samples.composite(head(samples.features, samples.positions), 3))

    before = of_rays()
    torch.testing.assert_close(before.sum(dim=-1), torch.ones(3))
    expected = 0.7 * head(features[:1], positions[:1]) + 0.3 * head(features[1:2], positions[1:2])
    torch.testing.assert_close(before[:1], expected)
    assert before[2].tolist() == [0.0, 1.0, 0.0]
    features[2] = 100.0
    torch.testing.assert_close(of_rays(), before)


def test_faint_samples_are_left_out_and_their_weight_goes_to_the_others_of_their_ray() -> None:
    weights = torch.tensor([FAINT / 2, 0.5, 0.25, FAINT / 2])
    samples = seen_samples(torch.tensor([0, 0, 0, 1]), weights, torch.eye(4), torch.zeros(4, 3), 2)
    assert samples.rays.tolist() == [0, 0]
    torch.testing.assert_close(samples.features, torch.eye(4)[1:3])
    torch.testing.assert_close(samples.weights.sum(), weights[:3].sum())
    torch.testing.assert_close(samples.weights[0], 2.0 * samples.weights[1])


@pytest.mark.parametrize(
    "changes",
    [
        {"names": ("a", "b")},
        {"names": ("background", "background", "a")},
        {"names": (*map(str, range(255)), "background"), "colors": ((0, 0, 0),) * 256},
        {"colors": ((0, 0, 0),)},
        {"hidden_dim": 0},
        {"num_layers": 99},
    ],
)
def test_what_makes_no_head_is_refused(changes: dict[str, object]) -> None:
    options = {"names": NAMES, "colors": ((0, 0, 0),) * 3, **changes}
    with pytest.raises(UsageError, match="label-head"):
        LabelHeadConfig(**options).check("label-head")  # type: ignore[arg-type]


def test_features_of_the_extractor_are_reduced_around_their_mean_to_length_one() -> None:
    head = FeatureHeadConfig(channels=3, dims=2).setup(features=4)
    head.mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    head.directions.copy_(torch.eye(3)[:, 1:])
    reduced = head.reduce(torch.tensor([[9.0, 5.0, 7.0], [0.0, 2.0, 1.0]]))
    torch.testing.assert_close(reduced, torch.tensor([[0.6, 0.8], [0.0, -1.0]]))
    assert head(torch.randn(5, 4), torch.rand(5, 3)).shape == (5, 2)


def test_features_are_shown_around_gray() -> None:
    head = FeatureHeadConfig(channels=2, dims=2).setup(features=4)
    shown = head.shown(torch.tensor([[0.0, 0.0], [0.1, -9.0]]))
    torch.testing.assert_close(shown, torch.tensor([[0.5, 0.5, 0.5], [0.59, 0.0, 0.5]]))


@pytest.mark.parametrize("changes", [{"dims": 4}, {"dims": 0}, {"query": (1.0,)}, {"channels": 1 << 20}])
def test_what_makes_no_feature_head_is_refused(changes: dict[str, object]) -> None:
    options = {"channels": 3, "dims": 2, **changes}
    with pytest.raises(UsageError, match="feature-head"):
        FeatureHeadConfig(**options).check("feature-head")  # type: ignore[arg-type]
