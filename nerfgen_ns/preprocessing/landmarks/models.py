"""Landmark and matte models: what nerfgen asks of one, and how those of other packages are found."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8

from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.preprocessing.photographs import RejectedError
from nerfgen_ns.utils.spacing import evenly_spaced

FEWEST_LANDMARKS = 4
"""A pose has six unknowns and a landmark gives two of them; with three there are several answers."""
DEFAULT_RADIUS = 0.35
"""Landmarks with this spread fill about three quarters of a crop's side: see `LandmarkScheme.extent`."""


@dataclass(frozen=True, eq=False)
class LandmarkScheme:
    """The landmarks of one class: how many, which mirror each other, and where they are in the class frame.

    Raises:
        ValueError: the fields contradict each other.
    """

    count: int
    """Number of landmarks M."""
    mirror_partners: Int[np.ndarray, " m"] | None = None
    """For each landmark the one on the other side of the plane of symmetry, or itself if it is in the plane;
    an involution. None where no left-right pairs are known."""
    center: Float[np.ndarray, "3"] = field(default_factory=lambda: np.zeros(3))
    """Where the mean of the canonical landmarks is in the class frame."""
    radius: float = DEFAULT_RADIUS
    """Root mean square distance of the canonical landmarks from their mean, in units of the class frame."""
    has_depth: bool = False
    """Whether a third coordinate, the relative depth in pixels, comes with the landmarks."""
    names: tuple[str, ...] | None = None
    """Names of the landmarks, in order."""
    width_landmarks: tuple[int, int] | None = None
    """Two landmarks whose distance is the object's width; None: `extent` goes by the spread of all."""

    def __post_init__(self) -> None:
        if self.count < FEWEST_LANDMARKS:
            raise ValueError(f"{self.count} landmarks do not make a camera: give at least {FEWEST_LANDMARKS}")
        if self.names is not None and len(self.names) != self.count:
            raise ValueError(f"{len(self.names)} names for {self.count} landmarks")
        if self.mirror_partners is not None:
            partners, places = np.asarray(self.mirror_partners), np.arange(self.count)
            if partners.shape != (self.count,) or not np.isin(partners, places).all():
                raise ValueError(f"the mirror partners are not {self.count} numbers of landmarks")
            if (partners[partners] != places).any():
                raise ValueError("a landmark's mirror partner has another partner")
        if np.shape(self.center) != (3,) or np.abs(self.center).max() > 1 or not 0 < self.radius <= 1:
            raise ValueError(
                "the landmarks' center and radius have to be in the class frame, within [−1, 1]³"
            )

    def extent(self, landmarks: Float[np.ndarray, "*n m 2"]) -> Float[np.ndarray, "*n"]:
        """Compute the size of the object in each photograph, in the unit of `landmarks`, to divide errors by.

        It is the distance between `width_landmarks`. Without them, it is the diameter of the disc with the
        same root mean square distance from its mean as the known landmarks. NaN if fewer than two are known.
        """
        if self.width_landmarks is not None:
            one, other = self.width_landmarks
            return np.linalg.norm(landmarks[..., one, :2] - landmarks[..., other, :2], axis=-1)
        known = np.isfinite(landmarks[..., :2]).all(axis=-1, keepdims=True)
        count = np.where(known.sum(axis=-2) > 1, known.sum(axis=-2), np.nan)
        points = np.where(known, landmarks[..., :2], 0.0)
        mean = points.sum(axis=-2) / count
        spread = np.where(known, (points - mean[..., None, :]) ** 2, 0.0).sum(axis=(-2, -1)) / count[..., 0]
        # A disc's root mean square distance from its center is its radius over √2.
        return 2 * np.sqrt(2 * spread)

    def selection(self, most: int) -> Int[np.ndarray, " s"]:
        """Select about `most` landmarks, evenly spread over their numbers, mirror partners together."""
        if self.count <= most:
            return np.arange(self.count)
        # Each one taken brings its partner along.
        wanted = most if self.mirror_partners is None else most // 2
        some = evenly_spaced(self.count, wanted)
        return np.unique(some if self.mirror_partners is None else [some, self.mirror_partners[some]])

    def part(self, which: Int[np.ndarray, " s"]) -> "LandmarkScheme":
        """Return the scheme of some of the landmarks; mirror partners must stay together."""
        partners = self.mirror_partners
        return replace(
            self,
            count=len(which),
            mirror_partners=None if partners is None else np.searchsorted(which, partners[which]),
            names=None if self.names is None else tuple(self.names[place] for place in which),
            width_landmarks=None,
        )


def partners_of_pairs(pairs: Iterable[Sequence[int]], count: int) -> Int[np.ndarray, " m"] | None:
    """Return mirror partners by left-right pairs; unpaired landmarks are their own. None without pairs.

    Raises:
        ValueError: a pair is not one, names a landmark that does not exist, or one that is in another pair.
    """
    partners = np.arange(count)
    paired: set[int] = set()
    for pair in pairs:
        if len(pair) != 2 or not all(0 <= landmark < count for landmark in pair) or pair[0] == pair[1]:
            raise ValueError(f"{list(pair)} is not a pair of two of the {count} landmarks")
        if paired & set(pair):
            raise ValueError(f"landmark {min(paired & set(pair))} is in two left-right pairs")
        paired |= set(pair)
        partners[list(pair)] = pair[::-1]
    return partners if paired else None


def pairs_of_names(names: Sequence[str]) -> list[tuple[int, int]]:
    """Find left-right pairs by name.

    Examples are `eye_left` and `eye_right`, `left eye` and `right eye`, `Eye L` and `Eye R`. A name without a
    counterpart of the other side is in no pair.
    """
    places = {name.lower(): place for place, name in enumerate(names)}
    pairs = []
    for name, place in places.items():
        for left, right in (("left", "right"), ("l", "r")):
            partner = places.get(re.sub(rf"(?<![a-z]){left}(?![a-z])", right, name), place)
            if partner != place:
                pairs.append((place, partner))
                break
    return pairs


LANDMARK_COUNT = 468
LANDMARK_CENTER = np.array([0.0, -0.116, 0.252])
"""Mean of the canonical landmarks: here, the head with hair and neck is centered at the origin."""
LANDMARK_RADIUS = 0.19
"""Root mean square distance of the canonical landmarks from their mean: 1 unit is about 28 cm."""
FOREHEAD, CHIN = 10, 152
FACE_SIDES = (234, 454)
NOSE = 1

# Left and right partners, found by matching the landmarks of photographs with those of their mirror images.
# Landmarks that are not listed are in the plane of symmetry and are their own partners.
_PAIRS = """
3:248 7:249 20:250 21:251 22:252 23:253 24:254 25:255 26:256 27:257 28:258 29:259 30:260 31:261 32:262
33:263 34:264 35:265 36:266 37:267 38:268 39:269 40:270 41:271 42:272 43:273 44:274 45:275 46:276 47:277
48:278 49:279 50:280 51:281 52:282 53:283 54:284 55:285 56:286 57:287 58:288 59:289 60:290 61:291 62:292
63:293 64:294 65:295 66:296 67:297 68:298 69:299 70:300 71:301 72:302 73:303 74:304 75:305 76:306 77:307
78:308 79:309 80:310 81:311 82:312 83:313 84:314 85:315 86:316 87:317 88:318 89:319 90:320 91:321 92:322
93:323 95:324 96:325 97:326 98:327 99:328 100:329 101:330 102:331 103:332 104:333 105:334 106:335 107:336
108:337 109:338 110:339 111:340 112:341 113:342 114:343 115:344 116:345 117:346 118:347 119:348 120:349
121:350 122:351 123:352 124:353 125:354 126:355 127:356 128:357 129:358 130:359 131:360 132:361 133:362
134:363 135:364 136:365 137:366 138:367 139:368 140:369 141:370 142:371 143:372 144:373 145:374 146:375
147:376 148:377 149:378 150:379 153:380 154:381 155:382 156:383 157:384 158:385 159:386 160:387 161:388
162:389 163:390 165:391 166:392 167:393 169:394 170:395 171:396 172:397 173:398 174:399 176:400 177:401
178:402 179:403 180:404 181:405 182:406 183:407 184:408 185:409 186:410 187:411 188:412 189:413 190:414
191:415 192:416 193:417 194:418 196:419 198:420 201:421 202:422 203:423 204:424 205:425 206:426 207:427
208:428 209:429 210:430 211:431 212:432 213:433 214:434 215:435 216:436 217:437 218:438 219:439 220:440
221:441 222:442 223:443 224:444 225:445 226:446 227:447 228:448 229:449 230:450 231:451 232:452 233:453
234:454 235:455 236:456 237:457 238:458 239:459 240:460 241:461 242:462 243:463 244:464 245:465 246:466
247:467
"""


def mirror_partners() -> Int[np.ndarray, " m"]:
    """Return for each landmark the index of the one on the other side of the face; an involution."""
    partners = np.arange(LANDMARK_COUNT)
    for pair in _PAIRS.split():
        left, right = map(int, pair.split(":"))
        partners[left], partners[right] = right, left
    return partners


def face_width(landmarks: Float[np.ndarray, "*n m 2"]) -> Float[np.ndarray, "*n"]:
    """Compute the face's width at the height of the ears, in the unit of `landmarks`."""
    return np.linalg.norm(landmarks[..., FACE_SIDES[0], :] - landmarks[..., FACE_SIDES[1], :], axis=-1)


FACE_MESH = LandmarkScheme(
    count=LANDMARK_COUNT,
    mirror_partners=mirror_partners(),
    center=LANDMARK_CENTER,
    radius=LANDMARK_RADIUS,
    has_depth=True,
    width_landmarks=FACE_SIDES,
)
"""The landmarks of MediaPipe's face mesh."""
FIVE_NAMES = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
FIVE_CENTER = np.array([0.0, -0.12, 0.257])
"""Mean of the five landmarks where the face mesh is as `FACE_MESH` says, measured on 100 portraits."""
FIVE_RADIUS = 0.153
LANDMARK_MODELS = "nerfgen.landmark_models"
MATTE_MODELS = "nerfgen.matte_models"
Photograph = UInt8[np.ndarray, "height width 3"]


class Landmarks(NamedTuple):
    """What a landmark model finds in a photograph."""

    points: Float[np.ndarray, "m dimensions"]
    """Pixels; (0, 0) is the upper left corner. If the model's scheme has depth, a third coordinate is the
    relative depth in pixels; smaller is nearer. NaN where a landmark was not found."""
    confidence: Float[np.ndarray, " m"] | None = None
    """In [0, 1]; None: 1 for each that was found."""
    notes: Sequence[str] = ()
    """Remarks on the photograph for a person to read."""


@runtime_checkable
class LandmarkModel(Protocol):
    """Finds the landmarks of the one object that a photograph shows."""

    scheme: LandmarkScheme
    """The landmarks it finds. An attribute of the class, so that it is known before a model is made."""

    def __call__(self, photograph: Photograph) -> Landmarks:
        """Find the landmarks of an upright photograph; raise a RejectedError if the object is not in it."""
        ...


@runtime_checkable
class MatteModel(Protocol):
    """Separates the object of a photograph from its background."""

    def __call__(self, photograph: Photograph) -> Float[np.ndarray, "height width"]:
        """Compute the matte in [0, 1] of a photograph, or of a part of one."""
        ...


class MediaPipeLandmarks:
    """MediaPipe's face mesh as a landmark model."""

    scheme = FACE_MESH

    def __init__(self, model: Path | None = None) -> None:
        from nerfgen_ns.preprocessing.landmarks.mediapipe_models import FaceMesh

        self._face_mesh = FaceMesh(model)

    def __call__(self, photograph: Photograph) -> Landmarks:
        """Find the landmarks of the largest and most central face.

        Raises:
            RejectedError: no face was found.
        """
        points, notes = self._face_mesh(photograph)
        return Landmarks(points, notes=notes)


def model_names(group: str) -> list[str]:
    """Return the names of the models that the installed packages offer in an entry point group."""
    return sorted({entry.name for entry in entry_points(group=group)})


def landmark_scheme(name: str) -> LandmarkScheme:
    """Return the scheme of the landmark model `name`; the model is not made.

    Raises:
        UsageError: there is no such model.
        NerfgenError: it cannot be loaded, or has no scheme.
    """
    scheme = getattr(load_model(LANDMARK_MODELS, name), "scheme", None)
    if not isinstance(scheme, LandmarkScheme):
        raise NerfgenError(f"landmark model {name!r}: has no attribute `scheme` with a LandmarkScheme")
    return scheme


def open_landmark_model(name: str, file: Path | None = None) -> LandmarkModel:
    """Make the landmark model `name`, from a model file where one is given.

    What the model returns is checked.

    Raises:
        UsageError: there is no such model.
        NerfgenError: it cannot be loaded or made, or finds something that cannot be landmarks.
    """
    return _CheckedLandmarkModel(name, landmark_scheme(name), make_model(LANDMARK_MODELS, name, file))


class _CheckedLandmarkModel:
    """A landmark model whose results are checked against its scheme; their confidence is always an array."""

    def __init__(self, name: str, scheme: LandmarkScheme, model: Callable[[Photograph], Any]) -> None:
        self.scheme = scheme
        self._what = f"landmark model {name!r}"
        self._model = model

    def __call__(self, photograph: Photograph) -> Landmarks:
        found = call_model(self._what, self._model, photograph)
        if not isinstance(found, Landmarks):
            raise NerfgenError(f"{self._what}: returned a {type(found).__name__} and no Landmarks")
        points = np.asarray(found.points, dtype=np.float64)
        shape = (self.scheme.count, 3 if self.scheme.has_depth else 2)
        if points.shape != shape:
            raise NerfgenError(
                f"{self._what}: found {points.shape} numbers where its scheme promises {shape}"
            )
        known = np.isfinite(points).all(axis=1)
        confidence = known if found.confidence is None else np.where(known, found.confidence, 0.0)
        if not ((confidence >= 0) & (confidence <= 1)).all():
            raise NerfgenError(f"{self._what}: its confidence is not in [0, 1]")
        return Landmarks(np.where(known[:, None], points, np.nan), confidence.astype(np.float64), found.notes)


def open_matte_model(name: str, file: Path | None = None) -> MatteModel:
    """Make the matte model `name`, from a model file where one is given.

    What the model returns is checked.

    Raises:
        UsageError: there is no such model.
        NerfgenError: it cannot be loaded or made, or returns something that cannot be a matte.
    """
    model = make_model(MATTE_MODELS, name, file)

    def checked(photograph: Photograph) -> Float[np.ndarray, "height width"]:
        matte = np.asarray(call_model(f"matte model {name!r}", model, photograph))
        if matte.shape != photograph.shape[:2] or not np.isfinite(matte).all():
            raise NerfgenError(
                f"matte model {name!r}: its matte of shape {matte.shape} is not one number for each pixel of "
                f"{photograph.shape[:2]}"
            )
        return np.clip(matte, 0.0, 1.0)

    return checked


def load_model(group: str, name: str) -> Callable[..., Any]:
    """Return what makes the model `name` of an entry point group; see `make_model`."""
    found = [entry for entry in entry_points(group=group) if entry.name == name]
    if not found:
        raise UsageError(
            f"{name!r}: no installed package offers a model of this name in {group!r}; "
            f"there are: {', '.join(model_names(group)) or 'none, install nerfgen-ns again'}"
        )
    try:
        loaded = found[0].load()
    except Exception as error:
        raise NerfgenError(f"{found[0].value}: the model {name!r} cannot be loaded ({error})") from error
    if not callable(loaded):
        raise NerfgenError(f"{found[0].value}: the model {name!r} is nothing that can be called")
    return loaded  # type: ignore[no-any-return]


def make_model(group: str, name: str, file: Path | None) -> Callable[[Photograph], Any]:
    """Make the model `name` of an entry point group, from a model file where one is given.

    Raises:
        UsageError: there is no such model.
        NerfgenError: it cannot be loaded or made.
    """
    make = load_model(group, name)
    try:
        model = make() if file is None else make(file)
    except NerfgenError:
        raise
    except Exception as error:
        raise NerfgenError(f"the model {name!r} of {group!r} cannot be made ({error})") from error
    return model  # type: ignore[no-any-return]


def call_model(what: str, model: Callable[[Photograph], Any], photograph: Photograph) -> Any:
    """Ask a model about a photograph; what it raises becomes one line that begins with `what`."""
    try:
        return model(photograph)
    except (NerfgenError, RejectedError):
        raise
    except Exception as error:
        raise NerfgenError(f"{what}: failed with {type(error).__name__}: {error}") from error
