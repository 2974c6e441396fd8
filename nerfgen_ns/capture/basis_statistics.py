"""What the photographs of a collection say about its canonical model, as sums over them.

The sums are taken under the posterior of poses and coefficients (see `collection_posterior`). Because the
posterior's spread counts, what the landmarks leave open (is the chin long, or the head lifted?) does not grow
into the basis.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from nerfgen_ns.capture.collection_posterior import find_posterior, with_covariance
from nerfgen_ns.capture.linearisation import TAILS, Linearised, Observations, Posterior, linearise
from nerfgen_ns.capture.shape_basis import CanonicalModel

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
        cls, linearised: Linearised, observations: Observations, posterior: Posterior, model: CanonicalModel
    ) -> "Statistics":
        """The statistics of a chunk, whose posterior has its covariance."""
        assert posterior.covariance is not None
        n, _, rows, landmarks = linearised.design.shape
        modes = len(model.basis)
        by_point, weight, residual = linearised.by_point(), linearised.weight, linearised.residual
        uncertain = posterior.covariance
        coefficients = np.ones((n, modes + 1))
        coefficients[:, 1:] = posterior.coefficients[observations.group]
        second = coefficients[:, :, None] * coefficients[:, None]
        second[:, 1:, 1:] += uncertain[:, -modes:, -modes:] if modes else 0.0
        weighted = by_point * weight[:, :, None]
        curvature = (weighted[:, :, :, None] * by_point[:, :, None]).sum(axis=1)
        normal = curvature.reshape(n, 9, landmarks).transpose(2, 1, 0) @ second.reshape(n, -1)
        # E[residual · coefficient]: what of it comes of their common uncertainty is not the model's.
        spread = uncertain @ linearised.design.reshape(n, -1, rows * landmarks)
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
            answered = pulled @ linearised.design.reshape(n, -1, rows * landmarks).transpose(0, 2, 1)
            effect = pulled @ maps.transpose(0, 2, 1) - answered @ uncertain @ answered.transpose(0, 2, 1)
            stretching = effect.sum(axis=0)
            stretched = (pulled @ residual.reshape(n, -1, 1)).sum(axis=0)[:, 0]
        variance = (linearised.design * spread.reshape(linearised.design.shape)).sum(axis=1)
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
        found, linearised = find_posterior(part, model, start, steps, stretch_precision)
        found = with_covariance(part, model, found, linearised, stretch_precision)
        for name in ("rotation", "translation", "stretch", "covariance"):
            getattr(result, name)[places] = getattr(found, name)
        result.coefficients[identities] = found.coefficients
        parts.append(Statistics.of(linearised, part, found, model))
    return result, Statistics.sum(parts)


def gathered(observations: Observations, model: CanonicalModel, posterior: Posterior) -> Statistics:
    """The statistics where the posterior, which has its covariance, is now."""
    assert posterior.covariance is not None
    stretch_free = posterior.covariance.shape[1] == 7 + len(model.basis)
    parts = []
    for places in chunks(observations.group):
        here = posterior.part(places, np.unique(observations.group[places]))
        part = observations.part(places)
        parts.append(Statistics.of(linearise(part, model, here, stretch_free), part, here, model))
    return Statistics.sum(parts)


def independence(statistics: Statistics) -> float:
    """The residuals' effective number of dimensions over their number: (tr C)² / tr C², over r."""
    whitened = np.concatenate(statistics.whitened)
    n, size = len(whitened), 2 * np.count_nonzero(statistics.seen) - 6  # a pose takes six of them
    products = (whitened @ whitened.T) ** 2
    trace = np.sqrt(np.diagonal(products)).mean()
    squares = (products.sum() - np.trace(products)) / max(n * (n - 1), 1)
    return float(np.clip(trace**2 / max(squares, 1e-30) / size, 1 / size, 1.0))
