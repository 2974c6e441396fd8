"""Regions of objects: known answers of a ball whose front and back are labels, and how sharp a border is."""

import pytest
import torch

from nerfgen_ns.errors import UsageError
from nerfgen_ns.fields.regions import LUMINANCE, Membership, RegionConfig
from tests.helpers.small_models import make_camera, make_model, make_rays
from tests.helpers.split_objects import BACK_COLOR, FRONT_COLOR, LEGEND, ball_model, tell_sides

SAMPLERS = ("uniform", "pdf", "importance")
MIDDLE = (slice(2, 4), slice(3, 5))
"""The pixels of a camera that show the middle of the ball."""
GREEN = (0, 255, 0)


def render(model, region, yaw=0.0):
    code = model.latent_table.row(0)
    return model.render_camera(make_camera(yaw=yaw), code, probabilities=True, region=region)


def check_middle(output, expected, tolerance=0.01):
    given = output[MIDDLE]
    torch.testing.assert_close(given, torch.as_tensor(expected).expand_as(given), atol=tolerance, rtol=0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_is_removed_is_not_there_and_what_is_behind_it_shows(sampler):
    model = ball_model(sampler__kind=sampler)
    whole, edited = render(model, None), render(model, RegionConfig("remove", ("front",)))
    check_middle(whole["rgb"], FRONT_COLOR)
    # At the border half of the removed front still shows.
    check_middle(edited["rgb"], BACK_COLOR, 0.1)
    check_middle(edited["depth"] - whole["depth"], 0.5, 0.06)
    check_middle(edited["normals"], (0.5, 0.5, 1.0), 0.1)
    torch.testing.assert_close(
        render(model, RegionConfig("remove", ("front", "back")))["accumulation"],
        torch.zeros_like(whole["accumulation"]),
        atol=0.01,
        rtol=0,
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_an_extraction_leaves_out_hides_what_is_behind_it(sampler):
    model, region = ball_model(sampler__kind=sampler), RegionConfig("extract", ("back",))
    before, behind = render(model, region), render(model, region, yaw=torch.pi)
    check_middle(before["accumulation"], 0.0)
    check_middle(before["rgb"], (0.0, 0.0, 0.0))
    whole = render(model, None, yaw=torch.pi)
    for name in ("rgb", "depth", "accumulation"):
        check_middle(behind[name] - whole[name], 0.0)


def test_a_new_color_keeps_the_shading_and_the_shape():
    model = ball_model()
    brightness = sum(share * level for share, level in zip(LUMINANCE, FRONT_COLOR, strict=True))
    whole = render(model, None)
    for relative in (1.0, 0.5):
        region = RegionConfig("recolor", ("front",), GREEN, luminance=brightness / relative**2)
        edited = render(model, region)
        check_middle(edited["rgb"], (0.0, relative, 0.0))
        for name in ("accumulation", "depth", "normals", "labels"):
            assert torch.equal(edited[name], whole[name])
    behind = render(model, region, yaw=torch.pi)
    check_middle(behind["rgb"], BACK_COLOR)


def test_labels_are_those_of_what_is_left():
    model = ball_model()
    for region, left in (("remove", "back"), ("extract", "front")):
        outputs = render(model, RegionConfig(region, ("front",)))
        probabilities = outputs["label_probabilities"]
        check_middle(probabilities[..., LEGEND.names.index(left)], 1.0)
        torch.testing.assert_close(probabilities.sum(dim=-1), torch.ones(6, 8))
        colors = {LEGEND.colors[0], LEGEND.colors[LEGEND.names.index(left)]}
        shown = (255 * outputs["labels"]).round().int().view(-1, 3).tolist()
        assert set(map(tuple, shown)) == colors


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_without_an_effect_and_in_training_objects_are_whole_to_the_bit(sampler):
    model = make_model(sampler__kind=sampler).eval()
    tell_sides(model)
    camera, code = make_camera(), model.latent_table.row(0)
    whole = model.render_camera(camera, code)
    for name, output in model.render_camera(camera, code, region=RegionConfig()).items():
        assert torch.equal(output, whole[name]), name
    model.config.region = RegionConfig("remove", ("front",))
    assert not torch.equal(model.render_camera(camera, code)["rgb"], whole["rgb"])
    for name, output in model.render_camera(camera, code, region=RegionConfig()).items():
        assert torch.equal(output, whole[name]), name
    model.train()
    rays = make_rays(cam_idx=0)
    torch.manual_seed(0)
    edited = model.render(rays, code)["rgb"]
    torch.manual_seed(0)
    model.config.region = None
    assert torch.equal(model.render(rays, code)["rgb"], edited)


def test_membership_is_the_probability_made_steeper():
    class Given(torch.nn.Module):
        names = ("other", "some", "most")

        def forward(self, features, positions):
            return torch.stack(
                [1.0 - positions[:, 0], 0.25 * positions[:, 0], 0.75 * positions[:, 0]], dim=-1
            )

    places = torch.tensor([0.0, 0.1, 0.5, 0.7, 0.9, 1.0])[:, None].expand(-1, 3)
    features = torch.zeros(len(places), 1)

    def members(labels, least, softness):
        region = RegionConfig("remove", labels, None, least, softness)
        return Membership.of_labels(Given(), region)(features, places)  # type: ignore[arg-type]

    torch.testing.assert_close(members(("some", "most"), 0.5, 1.0), places[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(members(("most",), 0.5, 1.0), 0.75 * places[:, 0], atol=1e-5, rtol=0)
    steep = members(("some", "most"), 0.5, 0.25)
    odds = (places[:, 0] / (1.0 - places[:, 0]))[1:5] ** 4
    torch.testing.assert_close(steep[1:5], odds / (1.0 + odds), rtol=1e-4, atol=0)
    assert float(steep[0]) < 1e-20 and float(steep[-1]) == 1.0
    assert float(members(("some", "most"), 0.7, 0.25)[3]) == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"labels": ()}, "--labels"),
        ({"labels": ("front", "front")}, "--labels"),
        ({"labels": ("nose",)}, "--labels nose"),
        ({"labels": ("background",)}, "--labels background"),
        ({"effect": "recolor"}, "--color"),
        ({"color": GREEN}, "--color"),
        ({"effect": "recolor", "color": (0, 0, 256)}, "--color 0 0 256"),
        ({"effect": "recolor", "color": (0, -1, 0)}, "--color 0 -1 0"),
        ({"threshold": 1.0}, "--threshold"),
        ({"threshold": float("nan")}, "--threshold"),
        ({"softness": 0.0}, "--softness"),
        ({"softness": float("inf")}, "--softness"),
    ],
)
def test_values_that_make_no_region_are_refused(changes, named):
    region = RegionConfig(**{"effect": "remove", "labels": ("front",), **changes})
    with pytest.raises(UsageError, match=named):
        region.check("--", LEGEND.names)
