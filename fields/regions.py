"""Regions of objects: parts that are removed, extracted or recolored wherever a class model is shown."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from nerfgen_ns.dataset_format.label_maps import BACKGROUND, Color
from nerfgen_ns.errors import UsageError, check_options
from nerfgen_ns.fields.foreground import ForegroundField, LatentTerms
from nerfgen_ns.fields.heads import FeatureHead, LabelHead
from nerfgen_ns.fields.query import Query, similarity

Effect = Literal["none", "remove", "extract", "recolor"]
LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Shares of red, green and blue in a color's luminance (ITU-R BT.709)."""
SURE = 1e-6
"""Probabilities nearer to 0 or 1 than this count as this far away: a logit is then finite."""


@dataclass
class RegionConfig:
    """A region of every object of a class, and what is done to it."""

    effect: Effect = "none"
    """remove: it is not there; extract: only it is there; recolor: it gets another color and keeps its
    shading; none: nothing."""
    labels: tuple[str, ...] = ()
    """The labels whose parts it is made of; none: it is what `nerfgen find` looked for."""
    color: Color | None = None
    """Its new color: red, green, blue, 0 to 255."""
    threshold: float = 0.5
    """The probability of these labels together, or the similarity, from which a sample is in the region
    rather than out of it."""
    softness: float = 0.25
    """How gradually samples enter the region: with 1 and a `threshold` of 0.5 their membership is the
    probability itself, with less it is nearer to 0 or 1."""
    luminance: float = 0.5
    """The luminance of the part in the class's renders that becomes that of the new color."""

    def check(self, option: str, names: tuple[str, ...], has_query: bool = False) -> None:
        """Check that the region is one of objects with these labels.

        Args:
            option: what the names of the fields begin with in messages.
            names: the labels; none where there are none.
            has_query: whether the objects have features, and something is looked for in them.

        Raises:
            UsageError: it is not; the line names the option, which begins with `option`.
        """
        if self.effect == "none":
            return
        parts = [name for name in names if name != BACKGROUND]
        if not self.labels and not has_query:
            known = f"of {', '.join(parts)}; or take" if parts else "of a run of nerfgen label; or take"
            raise UsageError(f"{option}labels: name one or more parts {known} a run of nerfgen find")
        if len(set(self.labels)) < len(self.labels):
            raise UsageError(f"{option}labels {' '.join(self.labels)}: name each part once")
        for name in self.labels:
            if name not in parts:
                raise UsageError(f"{option}labels {name}: no such part; choose one of {', '.join(parts)}")
        if (self.color is None) == (self.effect == "recolor"):
            way = "give one with --effect recolor" if self.color is None else "it goes with --effect recolor"
            raise UsageError(f"{option}color: {way}")
        if self.color is not None and not all(0 <= level <= 255 for level in self.color):
            shown = " ".join(map(str, self.color))
            raise UsageError(f"{option}color {shown}: give red, green and blue from 0 to 255")
        if not 0.0 < self.threshold < 1.0:
            raise UsageError(f"{option}threshold {self.threshold}: give more than 0 and less than 1")
        check_options(self, option.rstrip("."), {"luminance": 0.01})
        if not 0.01 <= self.softness <= 10.0:
            raise UsageError(f"{option}softness {self.softness}: give 0.01 to 10")


@dataclass(frozen=True)
class Membership:
    """How much samples belong to a region: a score p, made steeper.

    logit m = (logit p − logit `threshold`) / `softness`. A density times 1 − m must fall by orders of
    magnitude, since a thin fog of a solid part would be opaque. In logits the border is where it was and as
    smooth.
    """

    score: Callable[[Tensor, Tensor], Tensor]
    """The probability of labels or the similarity to a query, (samples,) in [0, 1], of hidden features,
    (samples, features), and places in the class frame, (samples, 3)."""
    labels: tuple[int, ...]
    """The numbers of the region's labels; none where labels do not make it."""
    threshold: float
    """See `RegionConfig`."""
    softness: float
    """See `RegionConfig`."""

    @classmethod
    def of_labels(cls, head: LabelHead, region: RegionConfig) -> Membership:
        """Return that of the parts with the labels of a region."""
        labels = tuple(head.names.index(name) for name in region.labels)

        def score(features: Tensor, positions: Tensor) -> Tensor:
            return head(features, positions)[:, list(labels)].sum(dim=-1)

        return cls(score, labels, region.threshold, region.softness)

    @classmethod
    def of_query(cls, head: FeatureHead, region: RegionConfig, query: Query) -> Membership:
        """Return that of what is like a query."""

        def score(features: Tensor, positions: Tensor) -> Tensor:
            return similarity(head(features, positions), query)

        return cls(score, (), region.threshold, region.softness)

    def __call__(
        self, features: Float[Tensor, "samples features"], positions: Float[Tensor, "samples 3"]
    ) -> Float[Tensor, " samples"]:
        """Compute it, in [0, 1], from the hidden features of samples and their places in the class frame."""
        score = self.score(features, positions).clamp(SURE, 1.0 - SURE)
        start = math.log(self.threshold / (1.0 - self.threshold))
        return torch.sigmoid((score.logit() - start) / self.softness)


class SampleValues(NamedTuple):
    """What samples are made of."""

    density: Float[Tensor, "rays samples"]
    """What a ray meets, per unit of length."""
    colors: Float[Tensor, "rays samples 3"]
    """In [0, 1]."""
    features: Float[Tensor, "rays samples hidden"] | None
    """Hidden features of the foreground field, where they are asked for."""
    shown: Float[Tensor, "rays samples"] | None
    """The share of the density that shows what it is. The rest hides what is behind it, and shows the
    background. None where all of it shows."""


@dataclass(frozen=True)
class EditedField:
    """A foreground field with an effect on a region: the one place where the effect happens."""

    field: ForegroundField
    """The field as it was trained."""
    region: RegionConfig
    """The effect."""
    membership: Membership
    """What is in the region."""

    def values(
        self, positions: Float[Tensor, "rays samples 3"], terms: LatentTerms, keep: bool = True
    ) -> SampleValues:
        """Compute density, color and, unless `keep` is false, the hidden features, with the effect.

        What an extraction leaves out still hides what is behind it: nobody has seen the inside of an object
        in training, and there the field is a guess.
        """
        density, colors, features = self.field.with_features(positions, terms)
        assert features is not None
        member = self.membership(features.flatten(0, -2), positions.flatten(0, -2)).view_as(density)
        shown = None
        if self.region.effect == "remove":
            density = density * (1.0 - member)
        elif self.region.effect == "extract":
            shown = member
        else:
            colors = torch.lerp(colors, self._recolored(colors), member[..., None])
        return SampleValues(density, colors, features if keep else None, shown)

    def density(
        self, positions: Float[Tensor, "rays samples 3"], terms: LatentTerms
    ) -> Float[Tensor, "rays samples"]:
        """Compute the density that a ray meets."""
        if self.region.effect != "remove":
            return self.field.density(positions, terms)
        return self.values(positions, terms, keep=False).density

    def _recolored(self, colors: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """Return the new color, times the square root of the old luminance relative to the usual one.

        With the luminance itself, red of black hair would be black, and white hair would stay white.
        """
        assert self.region.color is not None
        luminance = (colors * colors.new_tensor(LUMINANCE)).sum(dim=-1, keepdim=True)
        shade = (luminance / self.region.luminance).sqrt()
        return (colors.new_tensor(self.region.color) / 255.0 * shade).clamp(max=1.0)

    def labels(self, probabilities: Float[Tensor, "*n labels"]) -> Float[Tensor, "*n labels"]:
        """Return the label probabilities of samples, given that the effect shows them.

        What is left of an object whose hair is removed is not hair.
        """
        own = list(self.membership.labels)
        if self.region.effect == "recolor" or not own:
            return probabilities
        kept = torch.full_like(probabilities, float(self.region.effect == "remove"))
        kept[..., own] = 1.0 - kept[..., own]
        left = probabilities * kept
        return left / left.sum(dim=-1, keepdim=True).clamp(min=SURE)


ShownField = ForegroundField | EditedField


def edited_field(
    field: ForegroundField,
    region: RegionConfig | None,
    labels: LabelHead | None,
    features: FeatureHead | None,
    query: Query | None = None,
) -> ShownField:
    """Return a field with the effect on a region, or the field itself where there is none.

    Args:
        field: the field as it was trained.
        region: the region and the effect.
        labels: what tells labels.
        features: what tells features.
        query: what a region without labels is, in place of the query of `features`.

    Raises:
        UsageError: nothing was looked for.
    """
    if region is None or region.effect == "none":
        return field
    if region.labels and labels is not None:
        return EditedField(field, region, Membership.of_labels(labels, region))
    if features is not None:
        query = query or features.query
    if features is None or query is None:
        raise UsageError("nothing was looked for: click on it, or take a run of nerfgen find")
    return EditedField(field, region, Membership.of_query(features, region, query))


def values_of(
    field: ShownField, positions: Float[Tensor, "rays samples 3"], terms: LatentTerms, keep: bool
) -> SampleValues:
    """Compute what samples are made of; `keep` asks for their hidden features."""
    if isinstance(field, EditedField):
        return field.values(positions, terms, keep)
    return SampleValues(*field.with_features(positions, terms, keep), None)
