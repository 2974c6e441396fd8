"""The class of cars: symmetric, varied, seen from all around before plain white."""

import numpy as np
import pytest

from nerfgen_ns.synthetic.car_parameters import BODY_TYPES
from nerfgen_ns.synthetic.car_surface import LABELS, LIGHTS, NAMES, PAINT, PAIRS, TRIM, WHEELS, WINDOWS
from nerfgen_ns.synthetic.dataset import Car, make_car
from nerfgen_ns.synthetic.render import Picture, look_at_camera, render, sample_camera_around, visible
from nerfgen_ns.synthetic.solids import ConvexSolid, mirrored

SIZE = 64


@pytest.fixture(scope="module")
def cars() -> list[Car]:
    return [make_car(0, identity) for identity in range(16)]


@pytest.fixture(scope="module")
def quarter_views(cars: list[Car]) -> list[Picture]:
    return [render(car, look_at_camera(35, 20, 0, 3.8, SIZE)) for car in cars]


def test_a_convex_solid_is_the_hull_of_its_corners_and_their_mirror_images() -> None:
    cube = ConvexSolid([(1, y, z) for y in (-1, 1) for z in (-1, 1)], rounding=0.01)
    points = np.array([[0.0, 0, 0], [-1.5, 0, 0], [0, 0, 3], [0.5, 1, 0], [-2, 2, 0]], np.float32).T
    distances = cube(mirrored(points))
    np.testing.assert_allclose(distances[:4], [-1, 0.5, 2, 0], atol=0.02)
    # Beside an edge the nearest plane is nearer than the edge: never too far for sphere tracing.
    assert 0.9 < distances[4] < np.sqrt(2)


def test_cars_are_symmetric(cars: list[Car]) -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (3, 5000)).astype(np.float32)
    for car in cars:
        np.testing.assert_array_equal(car.distance(points), car.distance(mirrored(points)))
        np.testing.assert_array_equal(
            car.appearance(points)[0], car.appearance(points * np.array([[-1], [1], [1]], np.float32))[0]
        )


def test_distances_never_grow_faster_than_one_walks(cars: list[Car]) -> None:
    """What sphere tracing relies on."""
    random = np.random.default_rng(0)
    points = random.uniform(-1, 1, (3, 5000)).astype(np.float32)
    steps = random.normal(0, 0.03, points.shape).astype(np.float32)
    for car in cars:
        change = np.abs(car.distance(points + steps) - car.distance(points))
        assert (change / np.linalg.norm(steps, axis=0)).max() < 1.15


def test_cars_stand_on_one_ground_on_four_wheels(cars: list[Car]) -> None:
    for car in cars:
        hubs = [place for name, place in zip(NAMES, car.landmarks, strict=True) if "hub" in name]
        radius = car.parameters.body.wheel_radius
        soles = np.array([[0.93 * x, -0.3, z] for x, _, z in hubs], np.float32).T
        assert len(hubs) == 4 and np.abs(car.distance(soles)).max() < 5e-3
        assert all(y == pytest.approx(radius - 0.3, abs=1e-3) for _, y, _ in hubs)


def test_all_body_types_appear_and_differ_as_they_should() -> None:
    cars = [make_car(0, identity) for identity in range(300)]
    bodies = {
        kind: [car.parameters.body for car in cars if car.parameters.body_type == kind] for kind in BODY_TYPES
    }
    assert min(map(len, bodies.values())) > 25
    height, length = (
        {kind: np.mean([getattr(body, name) for body in found]) for kind, found in bodies.items()}
        for name in ("roof_height", "half_length")
    )
    assert height["sports"] < height["saloon"] < height["hatchback"] < height["pickup"] < height["van"]
    assert length["hatchback"] < length["saloon"] < length["pickup"]


def test_shapes_differ_between_identities_as_much_as_colors(quarter_views: list[Picture]) -> None:
    mattes = np.stack([picture.matte for picture in quarter_views]) / 255
    unsure = (mattes.mean(axis=0) > 0.1) & (mattes.mean(axis=0) < 0.9)
    assert unsure.sum() > 0.5 * (mattes.mean(axis=0) > 0.9).sum(), "outlines differ"
    common = np.isfinite(np.stack([picture.depth for picture in quarter_views])).all(axis=0)
    depths = np.stack([picture.depth[common] for picture in quarter_views])
    assert depths.std(axis=0).mean() > 0.05, "surfaces differ where all cars have one"
    colors = np.stack([picture.image[common] for picture in quarter_views]) / 255
    assert colors.std(axis=0).mean() > 0.1


def test_every_part_of_a_car_is_seen(quarter_views: list[Picture]) -> None:
    for picture in quarter_views:
        seen = np.bincount(picture.labels.ravel(), minlength=len(LABELS))
        assert seen[[PAINT, WINDOWS, WHEELS]].min() >= 15
        assert seen[[LIGHTS, TRIM]].min() >= 1


def test_no_car_is_as_white_as_its_background(quarter_views: list[Picture]) -> None:
    for picture in quarter_views:
        assert (picture.image[picture.matte == 0] == 255).all()
        assert picture.image[picture.matte == 255].min(axis=-1).max() < 245


def test_a_car_depends_on_seed_and_number_alone() -> None:
    camera = look_at_camera(35, 20, 0, 3.8, 32)
    same = [render(make_car(3, 7), camera).image for _ in range(2)]
    np.testing.assert_array_equal(*same)
    inside = render(make_car(3, 7), camera).matte == 255
    for other in (make_car(3, 8), make_car(4, 7)):
        assert (same[0] != render(other, camera).image)[inside].mean() > 0.5


def test_cameras_stand_all_around_and_never_below(cars: list[Car]) -> None:
    random = np.random.default_rng(0)
    cameras = [sample_camera_around(random, SIZE) for _ in range(2000)]
    yaws, heights = np.array([(camera.yaw, np.sin(np.radians(camera.pitch))) for camera in cameras]).T
    quarters = np.histogram(yaws, bins=4, range=(-180, 180))[0]
    assert quarters.min() > 430
    assert heights.min() >= 0 and np.radians(65) < np.arcsin(heights.max()) < np.radians(71)
    assert np.histogram(heights, bins=4, range=(0, heights.max()))[0].min() > 430
    for camera in cameras[:20]:
        pixels, depth = camera.project(np.zeros((1, 3)))
        np.testing.assert_allclose(pixels, [[SIZE / 2, SIZE / 2]], atol=1e-6)
        assert depth[0] == pytest.approx(np.linalg.norm(camera.camera_to_world[:3, 3]))


def test_landmarks_lie_on_the_car_where_their_names_say() -> None:
    for identity in range(60):
        car = make_car(1, identity)
        assert car.landmarks.shape == (len(NAMES), 3) and np.isfinite(car.landmarks).all()
        assert np.abs(car.distance(car.landmarks.T.astype(np.float32))).max() < 4e-3
        left, right = (car.landmarks[[pair[side] for pair in PAIRS]] for side in (0, 1))
        np.testing.assert_allclose(left, right * [-1, 1, 1])
        assert (left[:, 0] > 0).all()
        place = dict(zip(NAMES, car.landmarks, strict=True))
        order = ["nose", "bonnet_front", "windscreen_foot", "roof_front", "roof_middle", "roof_rear", "tail"]
        assert (np.diff([place[name][2] for name in order]) < 0).all()
        assert place["roof_middle"][1] > place["windscreen_foot"][1] > place["front_hub_left"][1]


def test_lights_and_wheels_are_hidden_from_the_other_side(cars: list[Car]) -> None:
    for car in cars:
        from_left, from_behind = (
            dict(zip(NAMES, visible(car, look_at_camera(yaw, 5, 0, 3.8, SIZE), car.landmarks), strict=True))
            for yaw in (90, 180)
        )
        assert from_left["front_hub_left"] and not from_left["front_hub_right"]
        assert from_behind["tail_light_left"] and not from_behind["head_light_left"]
