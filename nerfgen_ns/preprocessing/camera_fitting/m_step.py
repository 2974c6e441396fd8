"""The M-step: canonical landmarks, their basis and their noise, from sums over a collection."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from nerfgen_ns.preprocessing.camera_fitting.canonical_model import (
    MIRROR,
    TAILS,
    CanonicalModel,
    Linearized,
    Observations,
    Posterior,
    linearize,
)
from nerfgen_ns.preprocessing.camera_fitting.class_frame import into_class_frame
from nerfgen_ns.preprocessing.camera_fitting.e_step import find_posterior, with_covariance
from nerfgen_ns.preprocessing.landmarks.models import LandmarkScheme

CHUNK = 64
"""Photographs worked on at a time: their arrays then stay in the processor's cache."""


def chunks(group: Int[np.ndarray, "n"], size: int = CHUNK) -> Iterator[Int[np.ndarray, "p"]]:
    """Places of about `size` photographs at a time, those of one identity together."""
    order = np.argsort(group, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(group[order])) + 1, len(order))
    first = 0
    while first < len(order):
        last = int(ends[min(int(np.searchsorted(ends, first + size)), len(ends) - 1)])
        yield order[first:last]
        first = last


@dataclass
class Statistics:
    """What photographs say about the model, as sums over them."""

    normal: Float[np.ndarray, "m 9 e"]
    gradient: Float[np.ndarray, "m k+1 3"]
    noise: Float[np.ndarray, "m"]
    depth_noise: Float[np.ndarray, "m"]
    seen: Float[np.ndarray, "m"]
    stretching: Float[np.ndarray, "9 9"]
    stretched: Float[np.ndarray, "9"]
    """Normal equations of a linear map of a rigid shape, in response to which the poses move."""
    whitened: list[Float[np.ndarray, "p 2m"]]

    @classmethod
    def of(
        cls, linearized: Linearized, observations: Observations, posterior: Posterior, model: CanonicalModel
    ) -> "Statistics":
        """The statistics of a chunk, whose posterior has its covariance."""
        assert posterior.covariance is not None
        n, _, rows, landmarks = linearized.design.shape
        modes = len(model.basis)
        by_point, weight, residual = linearized.by_point(), linearized.weight, linearized.residual
        uncertain = posterior.covariance
        coefficients = np.ones((n, modes + 1))
        coefficients[:, 1:] = posterior.coefficients[observations.group]
        second = coefficients[:, :, None] * coefficients[:, None]
        second[:, 1:, 1:] += uncertain[:, -modes:, -modes:] if modes else 0.0
        weighted = by_point * weight[:, :, None]
        curvature = (weighted[:, :, :, None] * by_point[:, :, None]).sum(axis=1)
        normal = curvature.reshape(n, 9, landmarks).transpose(2, 1, 0) @ second.reshape(n, -1)
        # E[residual · coefficient]: what of it comes of their common uncertainty is not the model's.
        spread = uncertain @ linearized.design.reshape(n, -1, rows * landmarks)
        share = residual[:, None] * coefficients[:, :, None, None]
        if modes:
            share[:, 1:] -= spread[:, -modes:].reshape(n, modes, rows, landmarks)
        gradient = np.einsum("nrjm,nkrm->mkj", weighted, share, optimize=True)
        stretching, stretched = np.zeros((9, 9)), np.zeros(9)
        if not modes:
            points = model.canonical - model.canonical.mean(axis=0)
            maps = by_point[:, :, :, None] * points.T
            maps = maps.reshape(n, rows, 9, landmarks).transpose(0, 2, 1, 3).reshape(n, 9, -1)
            pulled = maps * weight.reshape(n, 1, -1)
            answered = pulled @ linearized.design.reshape(n, -1, rows * landmarks).transpose(0, 2, 1)
            effect = pulled @ maps.transpose(0, 2, 1) - answered @ uncertain @ answered.transpose(0, 2, 1)
            stretching = effect.sum(axis=0)
            stretched = (pulled @ residual.reshape(n, -1, 1)).sum(axis=0)[:, 0]
        variance = (linearized.design * spread.reshape(linearized.design.shape)).sum(axis=1)
        confidence, squared = observations.confidence, residual**2 + variance
        tails = (TAILS + 2) / (TAILS + (residual[:, :2] ** 2).sum(axis=1) / model.noise**2)
        noise = (confidence * tails * squared[:, :2].sum(axis=1)).sum(axis=0) / 2
        depth_noise = np.zeros(landmarks)
        if rows == 3:
            tails_of_depth = (TAILS + 1) / (TAILS + residual[:, 2] ** 2 / model.depth_noise**2)
            depth_noise = (confidence * tails_of_depth * squared[:, 2]).sum(axis=0)
        whitened = residual[:, :2] * np.sqrt(confidence * tails)[:, None] / model.noise
        return cls(
            normal,
            gradient,
            noise,
            depth_noise,
            confidence.sum(axis=0),
            stretching,
            stretched,
            [whitened.reshape(n, -1)],
        )

    @classmethod
    def sum(cls, parts: "list[Statistics]") -> "Statistics":
        """The statistics of all photographs, from those of the chunks."""
        first, *others = parts
        total = cls(*(value.copy() for value in vars(first).values()))
        for part in others:
            for name, value in vars(part).items():
                setattr(total, name, getattr(total, name) + value)
        return total


def expect(
    observations: Observations,
    model: CanonicalModel,
    posterior: Posterior,
    stretch_precision: float | None,
    steps: int = 1,
) -> tuple[Posterior, Statistics]:
    """The posterior after some steps from where it was, and the statistics there."""
    size = model.basis.shape[0] + (6 if stretch_precision is None else 7)
    result = Posterior(
        posterior.rotation.copy(),
        posterior.translation.copy(),
        posterior.stretch.copy(),
        posterior.coefficients.copy(),
        np.zeros((len(observations), size, size)),
    )
    parts = []
    for places in chunks(observations.group):
        part = observations.part(places)
        identities = np.unique(observations.group[places])
        start = posterior.part(places, identities)
        found, linearized = find_posterior(part, model, start, steps, stretch_precision)
        found = with_covariance(part, model, found, linearized, stretch_precision)
        for name in ("rotation", "translation", "stretch", "covariance"):
            getattr(result, name)[places] = getattr(found, name)
        result.coefficients[identities] = found.coefficients
        parts.append(Statistics.of(linearized, part, found, model))
    return result, Statistics.sum(parts)


def gathered(observations: Observations, model: CanonicalModel, posterior: Posterior) -> Statistics:
    """The statistics where the posterior, which has its covariance, is now."""
    assert posterior.covariance is not None
    stretch_free = posterior.covariance.shape[1] == 7 + len(model.basis)
    parts = []
    for places in chunks(observations.group):
        here = posterior.part(places, np.unique(observations.group[places]))
        part = observations.part(places)
        parts.append(Statistics.of(linearize(part, model, here, stretch_free), part, here, model))
    return Statistics.sum(parts)


def independence(statistics: Statistics) -> float:
    """The residuals' effective number of dimensions over their number: (tr C)² / tr C², over r."""
    whitened = np.concatenate(statistics.whitened)
    n, size = len(whitened), 2 * np.count_nonzero(statistics.seen) - 6  # a pose takes six of them
    products = (whitened @ whitened.T) ** 2
    trace = np.sqrt(np.diagonal(products)).mean()
    squares = (products.sum() - np.trace(products)) / max(n * (n - 1), 1)
    return float(np.clip(trace**2 / max(squares, 1e-30) / size, 1 / size, 1.0))


COMPLETION_ROUNDS = 6
POOLED = 0.5
MOST_STRETCH = 0.2
LEAST_NOISE = 1e-5
"""Noise is not believed to be smaller than this part of the landmarks' radius."""


def maximize(
    model: CanonicalModel, statistics: Statistics, partners: Int[np.ndarray, "m"] | None
) -> CanonicalModel:
    """The canonical landmarks, basis and noise that the statistics speak for."""
    modes, landmarks = model.basis.shape[:2]
    size = 3 * (modes + 1)
    normal = statistics.normal.reshape(landmarks, 3, 3, modes + 1, modes + 1)
    normal = normal.transpose(0, 3, 1, 4, 2).reshape(landmarks, size, size)
    gradient = statistics.gradient.reshape(landmarks, size)
    noise, depth_noise, seen = statistics.noise, statistics.depth_noise, statistics.seen
    if partners is not None:
        sign = (np.append(1.0, model.parity)[:, None] * MIRROR).ravel()
        normal = normal + sign[:, None] * sign * normal[partners]
        gradient = gradient + sign * gradient[partners]
        noise, depth_noise, seen = (part + part[partners] for part in (noise, depth_noise, seen))
    # A mode's values at the landmarks are taken to be normal themselves: the rarely seen stay near zero.
    places = np.arange(size)
    ridge = np.full((landmarks, size), 1e-9) * np.trace(normal, axis1=1, axis2=2)[:, None] + 1e-9
    if modes:
        precision = 1 / ((model.basis**2).mean() + 1e-12)
        ridge[:, 3:] += precision
        gradient = gradient.copy()
        gradient[:, 3:] -= precision * model.basis.transpose(1, 0, 2).reshape(landmarks, -1)
    normal[:, places, places] += ridge
    step = np.linalg.solve(normal, gradient[..., None]).reshape(landmarks, modes + 1, 3)
    radius = np.sqrt(((model.canonical - model.canonical.mean(axis=0)) ** 2).sum(axis=1).mean())
    least = LEAST_NOISE * radius
    return CanonicalModel(
        canonical=model.canonical + step[:, 0],
        basis=model.basis + step[:, 1:].transpose(1, 0, 2),
        parity=model.parity,
        noise=_pooled(noise, seen) + least,
        depth_noise=_pooled(depth_noise, seen) + least,
        independence=model.independence,
        prior=model.prior,
    )


def _pooled(squares: Float[np.ndarray, "m"], seen: Float[np.ndarray, "m"]) -> Float[np.ndarray, "m"]:
    """Noise of each landmark, half its own and half that of all: the steadiest are not trusted blindly."""
    usual = squares.sum() / max(seen.sum(), 1e-9)
    own = np.where(seen > 0, squares / np.maximum(seen, 1e-9), usual)
    return np.sqrt(POOLED * usual + (1 - POOLED) * own)


def stretched(
    model: CanonicalModel, statistics: Statistics, partners: Int[np.ndarray, "m"] | None
) -> CanonicalModel:
    """All shapes under the linear map that the statistics speak for, once poses have answered it.

    Depth of the shapes against the cameras' turns, the bas-relief ambiguity, is what alternation between the
    two is slowest to find.
    """
    free = np.arange(9) if partners is None else np.array([0, 4, 5, 7, 8])  # what keeps a mirror image one
    normal = statistics.stretching[np.ix_(free, free)]
    normal = normal + 1e-3 * np.trace(normal) / len(free) * np.eye(len(free))
    change = np.zeros(9)
    change[free] = np.linalg.solve(normal, statistics.stretched[free])
    change *= min(1.0, MOST_STRETCH / max(np.abs(change).max(), 1e-12))
    matrix = np.eye(3) + change.reshape(3, 3)
    mean = model.canonical.mean(axis=0)
    return replace(model, canonical=(model.canonical - mean) @ matrix.T + mean, basis=model.basis @ matrix.T)


def grown(
    model: CanonicalModel,
    observations: Observations,
    posterior: Posterior,
    partners: Int[np.ndarray, "m"] | None,
    count: int,
) -> tuple[CanonicalModel, Posterior]:
    """The model with `count` modes more: those along which what is left unexplained varies most."""
    shifts = np.zeros((len(observations), *model.canonical.shape))
    for places in chunks(observations.group):
        part = observations.part(places)
        here = posterior.part(places, np.unique(observations.group[places]))
        linearized = linearize(part, model, here, stretch_free=False)
        by_point = linearized.by_point()
        weighted = by_point * linearized.weight[:, :, None]
        normal = np.einsum("nrim,nrjm->nmij", weighted, by_point, optimize=True)
        normal += np.eye(3) / np.median(model.noise) ** 2
        pull = np.einsum("nrim,nrm->nmi", weighted, linearized.residual)
        shifts[places] = np.linalg.solve(normal, pull[..., None])[..., 0]
    halves = [(1.0, shifts)]
    if partners is not None:
        mirror = shifts[:, partners] * MIRROR
        halves = [(1.0, (shifts + mirror) / 2), (-1.0, (shifts - mirror) / 2)]
    found = []
    for parity, half in halves:
        _, size, direction = np.linalg.svd(half.reshape(len(half), -1), full_matrices=False)
        found += [(s / np.sqrt(len(half)), parity, mode) for s, mode in zip(size, direction, strict=True)]
    found = sorted(found, key=lambda mode: -mode[0])[:count]
    new = np.array([size * mode for size, _, mode in found]).reshape(-1, *model.canonical.shape)
    model = CanonicalModel(
        model.canonical,
        np.concatenate([model.basis, new]),
        np.append(model.parity, [parity for _, parity, _ in found]),
        model.noise,
        model.depth_noise,
        model.independence,
        model.prior,
    )
    coefficients = np.zeros((len(posterior.coefficients), len(model.basis)))
    coefficients[:, : posterior.coefficients.shape[1]] = posterior.coefficients
    return model, Posterior(posterior.rotation, posterior.translation, posterior.stretch, coefficients)


def estimate(
    observations: Observations,
    model: CanonicalModel,
    posterior: Posterior,
    scheme: LandmarkScheme,
    rounds: int,
    stretch_precision: float | None = None,
) -> tuple[CanonicalModel, Posterior]:
    """Some rounds of expectation and maximization, each brought back into the class frame."""
    for _ in range(rounds):
        posterior, statistics = expect(observations, model, posterior, stretch_precision)
        if not len(model.basis):
            model = stretched(model, statistics, scheme.mirror_partners)
            model, posterior = into_class_frame(model, posterior, observations.group, scheme)
            posterior, statistics = expect(observations, model, posterior, stretch_precision, steps=2)
        model = maximize(model, statistics, scheme.mirror_partners)
        model, posterior = into_class_frame(model, posterior, observations.group, scheme)
    return model, posterior


def completed(
    observations: Observations,
    model: CanonicalModel,
    posterior: Posterior,
    which: Int[np.ndarray, "s"],
    scheme: LandmarkScheme,
) -> CanonicalModel:
    """The model of all landmarks, given that of some, at places `which`, and the posterior under it."""
    modes, mean = len(model.basis), model.canonical.mean(axis=0)
    whole = CanonicalModel(
        canonical=np.tile(mean, (scheme.count, 1)),
        basis=np.zeros((modes, scheme.count, 3)),
        parity=model.parity,
        noise=np.full(scheme.count, model.noise.mean()),
        depth_noise=np.full(scheme.count, model.depth_noise.mean()),
        prior=model.prior,
    )
    whole.canonical[which], whole.basis[:, which] = model.canonical, model.basis
    for _ in range(COMPLETION_ROUNDS):
        whole = maximize(whole, gathered(observations, whole, posterior), scheme.mirror_partners)
    whole.independence = model.independence * len(which) / scheme.count
    return into_class_frame(whole, posterior, observations.group, scheme)[0]


def unexplained(
    observations: Observations,
    held_out: Bool[np.ndarray, "n m"],
    model: CanonicalModel,
    posterior: Posterior,
) -> float:
    """Mean distance, in class units, of landmarks that nothing was fitted to."""
    held = Observations(
        observations.slopes, None, held_out.astype(float) * observations.confidence, observations.group
    )
    total = 0.0
    for places in chunks(observations.group):
        here = posterior.part(places, np.unique(observations.group[places]))
        linearized = linearize(held.part(places), model, here, stretch_free=False)
        total += (np.linalg.norm(linearized.residual, axis=1) * held.confidence[places]).sum()
    return float(total / max(held.confidence.sum(), 1e-9))
