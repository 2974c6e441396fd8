"""Every embedded class: the renderer's truth agrees with itself and with the solids."""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion

from nerfgen_ns.synthetic.dataset import CLASSES, EmbeddedClass
from nerfgen_ns.synthetic.render import Camera, Picture, look_at_camera, render
from nerfgen_ns.synthetic.solids import Solid

SIZE = 64


@pytest.fixture(scope="module", params=CLASSES)
def embedded(request: pytest.FixtureRequest) -> EmbeddedClass:
    return CLASSES[request.param]


@pytest.fixture(scope="module")
def solids(embedded: EmbeddedClass) -> list[Solid]:
    return [embedded.make(0, identity) for identity in range(10)]


@pytest.fixture(scope="module")
def views(embedded: EmbeddedClass, solids: list[Solid]) -> list[tuple[Solid, Camera, Picture]]:
    cameras = [embedded.sample_camera(np.random.default_rng(number), SIZE) for number in range(len(solids))]
    return [(solid, camera, render(solid, camera)) for solid, camera in zip(solids, cameras, strict=True)]


def test_depth_lies_on_the_surface(views: list[tuple[Solid, Camera, Picture]]) -> None:
    for solid, camera, picture in views:
        rows, columns = np.nonzero(np.isfinite(picture.depth))
        pixels = np.stack([columns, rows], axis=1) + 0.5
        origin, directions, depth_per_length = camera.rays(pixels)
        points = origin[:, None] + directions * (picture.depth[rows, columns] / depth_per_length)
        assert np.abs(solid.distance(points.astype(np.float32))).max() < 3e-3


def test_matte_depth_and_labels_agree(views: list[tuple[Solid, Camera, Picture]]) -> None:
    for _, _, picture in views:
        hit = np.isfinite(picture.depth)
        np.testing.assert_array_equal(hit, picture.labels > 0)
        inside, outside = binary_erosion(hit), ~binary_dilation(hit)
        assert (picture.matte[inside] == 255).mean() > 0.985
        assert (picture.matte[outside] == 0).mean() > 0.998
        assert len(np.unique(picture.matte)) > 2, "the edge is soft"


def test_rendered_depth_is_that_of_the_first_crossing_in_small_steps(solids: list[Solid]) -> None:
    camera = look_at_camera(20, 5, 0, 2.7, 32)
    rows, columns = np.divmod(np.arange(32 * 32), 32)
    origin, directions, depth_per_length = camera.rays(np.stack([columns, rows], axis=1) + 0.5)
    lengths = np.arange(1.8, 3.6, 0.005)
    for solid in solids[:3]:
        depth = render(solid, camera).depth.ravel()
        inside = np.stack(
            [
                solid.distance((origin[:, None] + directions * length).astype(np.float32)) < 0
                for length in lengths
            ]
        )
        expected = np.where(inside.any(axis=0), lengths[inside.argmax(axis=0)], np.inf) * depth_per_length
        hit = np.isfinite(expected)
        assert (np.isfinite(depth) != hit).mean() < 0.003
        both = hit & np.isfinite(depth)
        error = np.abs(depth[both] - expected[both])
        # Rays that graze may count as arrived a little early.
        assert np.quantile(error, 0.95) < 0.008 and np.quantile(error, 0.99) < 0.08


def test_background_is_the_same_color_whichever_way_the_matte_is_empty(
    views: list[tuple[Solid, Camera, Picture]],
) -> None:
    for solid, camera, picture in views:
        rows, columns = np.nonzero(picture.matte == 0)
        _, directions, _ = camera.rays(np.stack([columns, rows], axis=1) + 0.5)
        expected = solid.background.color(directions).T * 255
        assert np.abs(picture.image[rows, columns] - expected).max() < 2.5


def test_objects_fit_their_box_and_the_cube(solids: list[Solid]) -> None:
    random = np.random.default_rng(0)
    for solid in solids:
        assert (solid.low >= -1).all() and (solid.high <= 1).all()
        points = random.uniform(-1.3, 1.3, (3, 20000)).astype(np.float32)
        outside = ((points < solid.low[:, None]) | (points > solid.high[:, None])).any(axis=0)
        assert (solid.distance(points.compress(outside, axis=1)) > 0).all()
