from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerfgen_ns.cameras.projection import Cameras, project
from nerfgen_ns.preprocessing.camera_fitting.canonical_model import (
    MIRROR,
    CanonicalModel,
    Observations,
    PosePrior,
    Posterior,
    linearize,
)
from nerfgen_ns.preprocessing.camera_fitting.fit import Collection, fit_collection
from nerfgen_ns.preprocessing.landmarks.models import LandmarkScheme

FOCAL = 270.0
SCHEME = LandmarkScheme(
    24, np.concatenate([np.arange(9, 18), np.arange(9), np.arange(18, 24)]), np.array([0.0, -0.1, 0.2]), 0.2
)


@dataclass
class Planted:
    cameras: Cameras
    shapes: np.ndarray
    collection: Collection


def plant(count, seed=0, modes=0, noise=0.0, mode_size=0.007, scheme=SCHEME, turns=(20.0, 8.0, 3.0)):
    """A collection of symmetric shapes in the class frame, seen by cameras that look from in front."""
    generator = np.random.default_rng(seed)
    partners = scheme.mirror_partners
    random = generator.normal(size=(scheme.count, 3)) * [1.0, 1.2, 0.6]
    random[:, 0] += np.where(partners > np.arange(scheme.count), 1.0, 0.0)
    mean = (random + random[partners] * MIRROR) / 2
    # Seen from outside, things bulge toward the camera.
    mean[:, 2] -= 0.3 * (mean[:, :2] ** 2).sum(axis=1)
    mean -= mean.mean(axis=0)
    mean *= scheme.radius / np.sqrt((mean**2).sum(axis=1).mean())
    basis = generator.normal(size=(modes, scheme.count, 3)) * mode_size
    basis = (basis + basis[:, partners] * MIRROR) / np.sqrt(2)
    basis -= basis.mean(axis=1, keepdims=True)
    shapes = mean + scheme.center + np.tensordot(generator.normal(size=(count, modes)), basis, axes=1)
    angles = generator.normal(size=(count, 3)) * turns
    rotation = Rotation.from_euler("YXZ", angles, degrees=True).as_matrix()
    translation = generator.normal(size=(count, 3)) * [0.02, 0.02, 0.1] + [0.0, 0.0, -2.7]
    cameras = Cameras(rotation, translation, np.full(count, FOCAL), np.full((count, 2), 64.0))
    pixels = project(cameras, shapes) + generator.normal(size=(count, scheme.count, 2)) * noise
    landmarks = np.concatenate([pixels, np.full((count, scheme.count, 1), np.nan)], axis=2)
    collection = Collection(landmarks, np.ones(landmarks.shape[:2]), cameras.focal.copy(), cameras.center)
    return Planted(cameras, shapes, collection)


def turned_by(fitted, planted):
    """Degrees between fitted and planted rotations, one rotation for all taken back; and that one's."""
    turns = Rotation.from_matrix(fitted.rotation).inv() * Rotation.from_matrix(planted.rotation)
    gauge = turns.mean()
    rest = Rotation.from_matrix(fitted.rotation) * gauge * Rotation.from_matrix(planted.rotation).inv()
    return np.degrees(rest.magnitude()), np.degrees(gauge.magnitude())


def test_derivatives_equal_finite_differences():
    planted = plant(4, modes=2)
    model = CanonicalModel.rigid(planted.shapes[0])
    model.basis = np.random.default_rng(1).normal(size=(2, SCHEME.count, 3)) * 0.02
    model.parity = np.ones(2)
    slopes = (planted.collection.landmarks[..., :2] - 64.0) / FOCAL
    depth = np.random.default_rng(2).normal(size=(4, SCHEME.count)) * 0.05
    observations = Observations(np.moveaxis(slopes, 2, 1), depth, np.ones((4, SCHEME.count)), np.arange(4))
    start = Posterior(
        planted.cameras.rotation, planted.cameras.translation, np.zeros(4), np.full((4, 2), 0.3)
    )
    jacobian = linearize(observations, model, start, free_focal=True).jacobian

    def residual(step):
        rotation = Rotation.from_rotvec(np.tile(step[:3], (4, 1))).as_matrix()
        moved = Posterior(
            rotation @ start.rotation,
            start.translation + step[3:6],
            start.log_focal_scale + step[6],
            start.coefficients + step[7:],
        )
        # The unit of the residuals is the camera's distance, which the derivative leaves alone.
        unit = start.translation[:, 2] / moved.translation[:, 2]
        rows = linearize(observations, model, moved, free_focal=True).residual
        rows[:, :2] *= unit[:, None, None]
        return rows

    for parameter in (0, 1, 2, 3, 4, 7, 8):
        step = np.zeros(9)
        step[parameter] = 1e-6
        difference = (residual(-step) - residual(step)) / 2e-6
        np.testing.assert_allclose(jacobian[:, parameter], difference, atol=1e-7)


@pytest.mark.parametrize("below", [0.0, 1e-12, 1e-9, 1e-6, 1e-3])
@pytest.mark.parametrize("axis", [(1, 0, 0), (0, -1, 0), (0, 0, 1), (1, -2, 3), (-1, 1e-9, 0), (0, 3, -4)])
def test_half_a_turn_from_the_mean_rotation_is_half_a_turn_about_its_axis(axis, below):
    unit = np.array(axis) / np.linalg.norm(axis)
    mean = Rotation.from_rotvec([0.3, -0.2, 0.1]).as_matrix()
    prior = PosePrior(mean, np.eye(3))
    half = 2 * np.outer(unit, unit) - np.eye(3)
    nearly = Rotation.from_rotvec((np.pi - below) * unit).as_matrix()
    for rotation, angle in ((half, np.pi), (nearly, np.pi - below)):
        (rotvec,) = prior.rotvecs((rotation @ mean)[None])
        np.testing.assert_allclose(np.linalg.norm(rotvec), angle, atol=1e-12)
        np.testing.assert_allclose(Rotation.from_rotvec(rotvec).as_matrix(), rotation, atol=1e-12)


@pytest.mark.parametrize("count", [6, 60])
def test_a_rigid_class_and_its_cameras_are_found_from_pixels_alone(count):
    planted = plant(count, seed=count)
    fit = fit_collection(planted.collection, SCHEME)
    errors, gauge = turned_by(fit.cameras, planted.cameras)
    assert errors.max() < 0.1
    assert np.nanmax(fit.error) < 0.05
    # Upright as the cameras see it on average: theirs are 8° over √count from the truth.
    assert gauge < 3 * 8 / np.sqrt(count)


def test_a_basis_explains_what_varies_and_brings_the_cameras_nearer():
    planted = plant(120, modes=4, noise=0.05)
    fit = fit_collection(planted.collection, SCHEME)
    assert len(fit.basis) >= 4
    one_shape = fit_collection(planted.collection, SCHEME, given=CanonicalModel.rigid(fit.canonical))
    errors, _ = turned_by(fit.cameras, planted.cameras)
    rigid_errors, _ = turned_by(one_shape.cameras, planted.cameras)
    assert np.median(errors) < 0.7 * np.median(rigid_errors)
    assert np.median(fit.error) < 0.3 * np.median(one_shape.error)


def test_no_basis_is_made_of_noise():
    planted = plant(80, noise=0.5)
    assert len(fit_collection(planted.collection, SCHEME).basis) == 0


def test_the_class_frame_is_symmetric_upright_and_in_its_place():
    planted = plant(60, modes=3)
    fit = fit_collection(planted.collection, SCHEME)
    partners = SCHEME.mirror_partners
    np.testing.assert_allclose(fit.canonical[partners] * MIRROR, fit.canonical, atol=1e-9)
    np.testing.assert_allclose(fit.canonical.mean(axis=0), SCHEME.center, atol=1e-9)
    radius = np.sqrt(((fit.canonical - SCHEME.center) ** 2).sum(axis=1).mean())
    assert radius == pytest.approx(SCHEME.radius)
    # Facing the cameras, and not its own hollow mold seen from inside.
    assert np.corrcoef(fit.canonical[:, 2], planted.shapes.mean(axis=0)[:, 2])[0, 1] > 0.9
    assert (fit.cameras.translation[:, 2] < 0).all()


def test_missing_landmarks_cost_little_and_outliers_barely_move_a_camera():
    planted = plant(60, seed=1)
    generator = np.random.default_rng(2)
    confidence = (generator.random(planted.collection.confidence.shape) > 0.2).astype(float)
    landmarks = planted.collection.landmarks.copy()
    landmarks[confidence == 0] = np.nan
    landmarks[generator.random(confidence.shape) < 0.05, :2] += 20
    fit = fit_collection(replace(planted.collection, landmarks=landmarks, confidence=confidence), SCHEME)
    errors, _ = turned_by(fit.cameras, planted.cameras)
    assert np.median(errors) < 0.5


def test_a_shared_focal_length_is_found():
    planted = plant(80, seed=3, turns=(35.0, 20.0, 5.0), noise=0.1)
    guess = replace(planted.collection, focal=planted.collection.focal * 1.2)
    kept = fit_collection(guess, SCHEME)
    found = fit_collection(guess, SCHEME, focal_mode="shared")
    assert (kept.cameras.focal == guess.focal).all()
    assert np.ptp(found.cameras.focal) == 0
    assert abs(found.cameras.focal[0] / FOCAL - 1) < 0.05


def test_focal_lengths_of_their_own_stay_near_each_other_without_evidence():
    planted = plant(40, seed=4, noise=0.3)
    fit = fit_collection(planted.collection, SCHEME, focal_mode="per-image")
    assert np.log(fit.cameras.focal).std() < 0.1
    assert abs(np.log(fit.cameras.focal / FOCAL).mean()) < 0.1


def test_photographs_of_one_identity_share_its_shape():
    planted, second = plant(80, modes=2, mode_size=0.012, noise=0.05), plant(80, seed=9).cameras
    pixels = project(second, planted.shapes)
    landmarks = np.concatenate([planted.collection.landmarks, np.dstack([pixels, np.full((80, 24), np.nan)])])
    confidence = np.ones((160, 24))
    # The second photograph of each shows too little to tell its shape by.
    confidence[80:] = np.arange(24) % 4 == 0
    numbers = np.tile(np.arange(80) * 7, 2)
    both = Collection(landmarks, confidence, np.full(160, FOCAL), np.full((160, 2), 64.0), numbers)
    fit = fit_collection(both, SCHEME)
    np.testing.assert_array_equal(fit.coefficients[:80], fit.coefficients[80:])
    alone = fit_collection(replace(both, identity=None), SCHEME)
    truth = replace(second, rotation=np.concatenate([planted.cameras.rotation, second.rotation]))
    shared_errors, own_errors = (turned_by(each.cameras, truth)[0][80:] for each in (fit, alone))
    assert np.median(shared_errors) < 0.9 * np.median(own_errors)


def test_a_given_model_keeps_its_frame_and_fits_a_single_photograph():
    planted = plant(40, modes=2, noise=0.05)
    first = fit_collection(planted.collection, SCHEME)
    model = CanonicalModel.from_dict(first.model.as_dict())
    one = slice(7, 8)
    single = Collection(
        planted.collection.landmarks[one],
        planted.collection.confidence[one],
        planted.collection.focal[one],
        planted.collection.center[one],
    )
    again = fit_collection(single, SCHEME, given=model)
    np.testing.assert_allclose(again.canonical, first.canonical, atol=1e-6)
    turn = (
        Rotation.from_matrix(again.cameras.rotation[0])
        * Rotation.from_matrix(first.cameras.rotation[7]).inv()
    )
    assert np.degrees(turn.magnitude()) < 0.1


def test_more_landmarks_than_are_needed_for_the_cameras_are_placed_too():
    count = 300
    half = np.arange(140)
    partners = np.concatenate([half + 140, half, np.arange(280, 300)])
    scheme = LandmarkScheme(count, partners, np.zeros(3), 0.2)
    planted = plant(60, noise=0.05, scheme=scheme)
    fit = fit_collection(planted.collection, scheme)
    errors, _ = turned_by(fit.cameras, planted.cameras)
    assert np.median(errors) < 0.5
    assert np.median(fit.error) < 0.15


def test_the_fit_does_not_depend_on_the_order_of_photographs_beyond_rounding():
    planted = plant(50, modes=2, noise=0.1)
    order = np.random.default_rng(5).permutation(50)
    whole = planted.collection
    shuffled = Collection(
        whole.landmarks[order], whole.confidence[order], whole.focal[order], whole.center[order]
    )
    fit, other = fit_collection(whole, SCHEME), fit_collection(shuffled, SCHEME)
    turns = (
        Rotation.from_matrix(fit.cameras.rotation[order]) * Rotation.from_matrix(other.cameras.rotation).inv()
    )
    assert np.degrees(turns.magnitude()).max() < 0.5


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"focal": np.zeros(8)}, "focal"),
        ({"focal": np.ones(3)}, r"focal .*\(3,\)"),
        ({"confidence": np.zeros((8, 24))}, "confidence"),
        ({"identity": np.zeros(3, int)}, r"identity .*\(3,\)"),
    ],
)
def test_contradictory_collections_are_named(change, named):
    with pytest.raises(ValueError, match=named):
        fit_collection(replace(plant(8).collection, **change), SCHEME)
