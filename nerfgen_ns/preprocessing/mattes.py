"""Where mattes come from: a model, a folder, the alpha channel, a solid background color, or nowhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from nerfgen_ns.errors import UsageError
from nerfgen_ns.preprocessing.crops import Crop, crop_photograph
from nerfgen_ns.preprocessing.landmarks.models import MATTE_MODELS, model_names, open_matte_model
from nerfgen_ns.preprocessing.listing import name_in
from nerfgen_ns.preprocessing.photographs import RejectedError, read_alpha, read_upright, upright_size

MATTE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
NOISE = 8.0
"""Colors this near to the background's, of 255, are the background: compression leaves such traces."""
DISTINCT = 40.0
"""Colors this far from the background's are the object, and between the two the matte rises evenly."""
SOLID = 0.8
"""At least this part of a photograph's edge must have the background's color."""
Photograph = UInt8[np.ndarray, "height width 3"]
Matte = UInt8[np.ndarray, "height width"]


@dataclass(frozen=True)
class MatteOptions:
    """Which mattes to use; small and picklable, so that every worker process can open its own source."""

    kind: str = "mediapipe"
    """`folder`, `alpha`, `background`, `none`, or the name of a matte model."""
    folder: Path | None = None
    """Where the mattes are, for `folder`: files with the names of the photographs but for the suffix."""
    color: tuple[int, int, int] | None = None
    """Color of the background, 0–255, for `background`; None: that of each photograph's edge."""
    model: Path | None = None
    """File that the matte model is made from, where it needs one."""
    data: Path | None = None
    """Folder of the photographs: those in folders below it have their mattes in folders of the same names
    below `folder`. None: all mattes are in `folder` itself."""

    def check(self, photographs: Sequence[Path]) -> None:
        """Check the options and the headers of the mattes, before any work.

        Raises:
            UsageError: the options contradict each other, or a matte is missing or of another size.
        """
        known = ("folder", "alpha", "background", "none", *model_names(MATTE_MODELS))
        if self.kind not in known:
            raise UsageError(f"--mattes {self.kind}: choose one of {', '.join(known)}")
        if (self.folder is None) == (self.kind == "folder"):
            raise UsageError("--mattes folder and --matte-folder DIR go together: give both or neither")
        if self.color is not None and (
            self.kind != "background" or not all(0 <= c <= 255 for c in self.color)
        ):
            raise UsageError("--background-color goes with --mattes background and takes three of 0 to 255")
        if self.folder is not None:
            for photograph in photographs:
                _check_matte_file(_matte_file(self.folder, photograph, self.data), photograph)

    def file_of(self, photograph: Path) -> Path | None:
        """Return the file that holds the photograph's matte; None if mattes are not files of their own."""
        return None if self.folder is None else _matte_file(self.folder, photograph, self.data)

    def open(self) -> "MatteSource | None":
        """Open the source of the mattes; return None if there are to be none.

        Raises:
            UsageError: no such model.
            NerfgenError: the model cannot be made.
        """
        if self.kind == "none":
            return None
        if self.kind == "folder" and self.folder is not None:
            return MatteSource(partial(_from_folder, self.folder, self.data))
        if self.kind == "alpha":
            return MatteSource(_from_alpha)
        if self.kind == "background":
            return MatteSource(partial(_from_background, self.color))
        model = open_matte_model(self.kind, self.model)
        return MatteSource(lambda path, photograph: _as_bytes(model(photograph)), of_crop=True)


@dataclass(frozen=True)
class MatteSource:
    """Mattes of photographs, 0–255."""

    of_photograph: Callable[[Path, Photograph], Matte]
    """From a photograph's file, and the photograph as `read_photograph` gives it or a part of it."""
    of_crop: bool = False
    """Whether it looks at the crop. A model does: the matte continues beyond the edge like the crop."""

    def __call__(self, path: Path, photograph: Photograph, crop: Crop, image: Photograph) -> Matte:
        """Return the matte of `image`, which is the `crop` of `photograph`.

        Raises:
            RejectedError: there is no object in it.
            UsageError: a matte that was given is of another size, all zero or unreadable.
        """
        if self.of_crop:
            matte = self.of_photograph(path, image)
        else:
            matte = crop_photograph(self.of_photograph(path, photograph), crop)
        if not matte.any():
            raise RejectedError("its matte is empty: no object was found", "use one that shows the object")
        return matte


def _as_bytes(matte: Float[np.ndarray, "height width"]) -> Matte:
    return np.round(matte * 255).astype(np.uint8)


def _matte_file(folder: Path, photograph: Path, data: Path | None) -> Path:
    name = Path(name_in(data, photograph))
    for suffix in dict.fromkeys((*MATTE_SUFFIXES, photograph.suffix)):
        path = folder / name.parent / f"{name.stem}{suffix}"
        if path.is_file():
            return path
    raise UsageError(
        f"{folder}: has no matte for {name}; name it {name.with_suffix('.png')}, or remove the photograph"
    )


def _check_matte_file(path: Path, photograph: Path) -> None:
    seen, expected = upright_size(path), upright_size(photograph)
    if seen is None:
        raise UsageError(f"{path}: not a readable matte; replace it with a grayscale PNG")
    if expected is not None and seen != expected:
        (width, height), (wide, high) = seen, expected
        raise UsageError(
            f"{path}: has {width}×{height} pixels and {photograph.name} {wide}×{high}; "
            "make the matte of the photograph's size"
        )


def _from_folder(folder: Path, data: Path | None, path: Path, photograph: Photograph) -> Matte:
    return read_matte(_matte_file(folder, path, data), path, photograph)


def read_matte(file: Path, path: Path, photograph: Photograph) -> Matte:
    """Read the matte, 0–255, from a file of its own, at the size of the photograph as it is read.

    If the file has transparency, that is the matte. If it has only the values 0 and 1, they are black and
    white.

    Args:
        path: the photograph's file, which `photograph` was read from.

    Raises:
        UsageError: it is unreadable, of another size than the photograph, or all zero.
    """
    _check_matte_file(file, path)
    height, width = photograph.shape[:2]
    try:
        upright = read_upright(file)
    except RejectedError as error:
        raise UsageError(f"{file}: not a readable matte ({error.reason}); give a grayscale PNG") from error
    alpha = upright.getchannel("A") if "A" in upright.getbands() else None
    shades = alpha if alpha is not None and np.asarray(alpha).min() < 255 else _shades(upright)
    if shades.size != (width, height):
        shades = shades.resize((width, height), Image.Resampling.BOX)
    matte = np.asarray(shades)
    if not matte.any():
        raise UsageError(f"{file}: is all zero, as if {path.name} showed nothing; draw it or remove both")
    return matte


def _shades(image: Image.Image) -> Image.Image:
    """Return gray values 0–255. If there are only the values 0 and 1, they mean black and white."""
    gray = np.asarray(image.convert("L"))
    return Image.fromarray(gray * 255 if gray.max(initial=0) == 1 else gray)


def _from_alpha(path: Path, photograph: Photograph) -> Matte:
    alpha = read_alpha(path)
    if alpha is None:
        raise RejectedError("it has no alpha channel to take its matte from", "choose other --mattes")
    if not alpha.any():
        raise RejectedError("it is transparent everywhere", "use one that shows the object")
    if alpha.shape != photograph.shape[:2]:
        height, width = photograph.shape[:2]
        return np.asarray(Image.fromarray(alpha).resize((width, height), Image.Resampling.BICUBIC))
    return alpha


def _from_background(color: tuple[int, int, int] | None, path: Path, photograph: Photograph) -> Matte:
    edge = np.concatenate([photograph[0], photograph[-1], photograph[:, 0], photograph[:, -1]])
    background = np.median(edge, axis=0) if color is None else np.array(color, dtype=np.float64)
    matte = background_matte(photograph, background)
    solid = (np.linalg.norm(edge - background, axis=1) < DISTINCT).mean()
    if solid < SOLID and color is None:
        raise RejectedError(
            f"its background is not of one color: {1 - solid:.0%} of the edge differs",
            "give --background-color, choose other --mattes, or use another photograph",
        )
    return matte


def background_matte(photograph: Photograph, background: Float[np.ndarray, "3"]) -> Matte:
    """Compute a soft matte, 0–255, of what differs in color from a solid background (0–255)."""
    distance = np.linalg.norm(photograph - np.asarray(background, dtype=np.float32), axis=-1)
    return _as_bytes(np.clip((distance - NOISE) / (DISTINCT - NOISE), 0, 1))
