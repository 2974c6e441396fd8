"""The class of heads, the renderer and the solids that it is made of."""

import numpy as np
import pytest

from nerfgen_ns.synthetic.dataset import Head, make_head
from nerfgen_ns.synthetic.head_surface import CLOTHES, EYES, HAIR, MOUTH, NAMES, PAIRS, SKIN
from nerfgen_ns.synthetic.render import Picture, look_at_camera, render, trace, visible
from nerfgen_ns.synthetic.solids import box, capsule, carve, disc, ellipsoid, join, plane, sphere

SIZE = 64


@pytest.fixture(scope="module")
def heads() -> list[Head]:
    return [make_head(0, identity) for identity in range(10)]


@pytest.fixture(scope="module")
def frontal(heads: list[Head]) -> list[Picture]:
    return [render(head, look_at_camera(0, 0, 0, 2.7, SIZE)) for head in heads]


def test_primitives_have_the_distances_known_by_hand() -> None:
    points = np.array([[3.0, 0, 0], [0, 2, 0], [0, 0, 0]], np.float32).T
    np.testing.assert_allclose(sphere(points, (0, 0, 0), 1.0), [2, 1, -1], atol=1e-6)
    np.testing.assert_allclose(capsule(points, (-1, 0, 0), (1, 0, 0), 0.5, 0.5), [1.5, 1.5, -0.5], atol=1e-6)
    np.testing.assert_allclose(ellipsoid(points[:, :2], (0, 0, 0), (3, 2, 1)), [0, 0], atol=1e-6)
    np.testing.assert_allclose(plane(points, (0, 1, 0), 0.5), [-0.5, 1.5, -0.5], atol=1e-6)
    np.testing.assert_allclose(box(points, (0, 0, 0), (1, 1, 1), 0.25), [2, 1, -1], atol=1e-6)
    np.testing.assert_allclose(disc(points, 1.5, 0.5, 0.1), [2.5, 0.5, -0.5], atol=1e-6)


def test_joining_takes_the_nearer_solid_and_carving_takes_the_tool_away() -> None:
    first, second = np.array([1.0, -1.0, 3.0]), np.array([2.0, 5.0, -2.0])
    np.testing.assert_allclose(join(first, second, 0.1), [1, -1, -2])
    np.testing.assert_allclose(carve(first, second, 0.1), [1, -1, 3])
    assert join(np.zeros(1), np.zeros(1), 0.4)[0] == pytest.approx(-0.1)


def test_tracing_finds_a_sphere_where_the_formula_puts_it() -> None:
    origins = np.array([[0.0, 0.3, 2.0], [0.0, 0.4, 0.0], [3.0, 3.0, 3.0]])
    directions = np.repeat([[0.0], [0.0], [-1.0]], 3, axis=1)
    lengths = trace(lambda p: sphere(p, (0, 0, 0), 1.0), origins, directions, np.zeros(3), np.full(3, 9.0))
    np.testing.assert_allclose(lengths, [2, 3 - np.sqrt(0.75), np.inf], atol=2e-3)


def test_projection_inverts_the_rays() -> None:
    camera = look_at_camera(30, -10, 4, 2.7, SIZE, (0.1, -0.05))
    pixels = np.array([[0.5, 0.5], [40.2, 13.7], [32.0, 32.0]])
    origin, directions, depth_per_length = camera.rays(pixels)
    points = (origin[:, None] + 2.5 * directions).T
    projected, depth = camera.project(points)
    np.testing.assert_allclose(projected, pixels, atol=1e-9)
    np.testing.assert_allclose(depth, 2.5 * depth_per_length, atol=1e-9)


def test_yaw_pitch_and_roll_have_the_documented_signs() -> None:
    assert look_at_camera(30, 0, 0, 2.7, SIZE).camera_to_world[0, 3] > 1
    assert look_at_camera(0, 30, 0, 2.7, SIZE).camera_to_world[1, 3] > 1
    assert look_at_camera(0, 0, 30, 2.7, SIZE).camera_to_world[1, 0] == pytest.approx(0.5)


def test_every_label_is_seen_from_the_front(frontal: list[Picture]) -> None:
    seen = {int(label) for picture in frontal for label in np.unique(picture.labels)}
    assert seen == {0, SKIN, HAIR, EYES, MOUTH, CLOTHES}
    assert all((picture.labels == EYES).sum() >= 4 for picture in frontal)


def test_color_of_the_surface_does_not_depend_on_the_camera(heads: list[Head]) -> None:
    """The same points seen by two cameras have the same colors: shading is diffuse."""
    head, middle = heads[0], look_at_camera(0, 0, 0, 2.7, 128)
    turned = look_at_camera(8, 0, 0, 2.7, 128)
    forehead = head.landmarks[[NAMES.index("forehead"), NAMES.index("cheek_left"), NAMES.index("nose_tip")]]
    colors = []
    for camera in (middle, turned):
        pixels = camera.project(forehead)[0].astype(int)
        colors.append(render(head, camera).image[pixels[:, 1], pixels[:, 0]].astype(float))
    assert np.abs(colors[0] - colors[1]).max() < 20


def test_shapes_differ_between_identities_as_much_as_colors(frontal: list[Picture]) -> None:
    mattes = np.stack([picture.matte for picture in frontal]) / 255
    common = np.isfinite(np.stack([picture.depth for picture in frontal])).all(axis=0)
    depths = np.stack([picture.depth[common] for picture in frontal])
    unsure = (mattes.mean(axis=0) > 0.1) & (mattes.mean(axis=0) < 0.9)
    assert unsure.mean() > 0.05, "outlines differ"
    assert depths.std(axis=0).mean() > 0.02, "surfaces differ where all heads have one"
    colors = np.stack([picture.image[common] for picture in frontal]) / 255
    assert colors.std(axis=0).mean() > 0.1


def test_a_head_depends_on_seed_and_number_alone() -> None:
    camera = look_at_camera(10, 0, 0, 2.7, 32)
    same = [render(make_head(3, 7), camera).image for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert (same[0] != render(make_head(3, 8), camera).image).mean() > 0.3
    assert (same[0] != render(make_head(4, 7), camera).image).mean() > 0.3


def test_landmarks_lie_on_the_bare_head_and_mirror_one_another() -> None:
    for identity in range(20):
        head = make_head(1, identity)
        assert head.landmarks.shape == (len(NAMES), 3) and np.isfinite(head.landmarks).all()
        assert np.abs(head.landmarks).max() < 1
        distances = head.bare.distance(head.landmarks.T.astype(np.float32))
        brows = ["brow" in name for name in NAMES]
        assert np.abs(distances[~np.array(brows)]).max() < 4e-3
        left, right = (head.landmarks[[pair[side] for pair in PAIRS]] for side in (0, 1))
        np.testing.assert_allclose(left, right * [-1, 1, 1])
        assert (left[:, 0] > 0).all()


def test_landmarks_stand_where_their_names_say(heads: list[Head]) -> None:
    for head in heads:
        place = dict(zip(NAMES, head.landmarks, strict=True))
        order = [
            "forehead",
            "nose_bridge",
            "nose_tip",
            "upper_lip_top",
            "mouth_middle",
            "lower_lip_bottom",
            "chin_bottom",
        ]
        assert (np.diff([place[name][1] for name in order]) < 0).all()
        assert place["eye_inner_left"][0] < place["pupil_left"][0] < place["eye_outer_left"][0]
        assert place["nose_tip"][2] > place["nose_bridge"][2] > place["ear_middle_left"][2]
        assert place["ear_middle_left"][0] > place["jaw_3_left"][0] > place["jaw_5_left"][0]


def test_an_ear_is_hidden_from_the_other_side_and_the_nose_never(heads: list[Head]) -> None:
    bald = next(
        head for head in (make_head(0, i) for i in range(100)) if head.parameters.hair.style == "bald"
    )
    left, right = (visible(bald, look_at_camera(yaw, 0, 0, 2.7, SIZE), bald.landmarks) for yaw in (60, -60))
    ears = [NAMES.index("ear_middle_left"), NAMES.index("ear_middle_right")]
    assert left[ears].tolist() == [True, False] and right[ears].tolist() == [False, True]
    assert left[NAMES.index("nose_tip")] and right[NAMES.index("nose_tip")]
