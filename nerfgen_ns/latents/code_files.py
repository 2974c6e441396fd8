"""Latent codes as a file: `.npz` without pickled objects."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from nerfgen_ns.errors import UsageError
from nerfgen_ns.fields.foreground import ForegroundField
from nerfgen_ns.utils.files import hash_of, replace_file


def fingerprint_of_model(foreground_field: ForegroundField) -> str:
    """Return a text that identifies these networks: the same on any device, another for other networks.

    Codes have no meaning for another model. A model that was trained further is another model.
    """
    parts: list[bytes | str] = []
    for name, parameter in sorted(foreground_field.named_parameters()):
        parts += [f"{name} {tuple(parameter.shape)}", parameter.detach().cpu().float().numpy().tobytes()]
    return hash_of(parts)[:20]


def write_codes(
    path: Path,
    codes: Float[Tensor, "n latent"],
    names: Sequence[str] | None = None,
    model: str | None = None,
) -> None:
    """Write codes, whole or not at all.

    The file holds `codes`, float32 of shape (n, latent), `names`, n texts, and `model`, a text.

    Args:
        path: a file name that ends in .npz.
        codes: the codes.
        names: what each is called; if not given, its row.
        model: the fingerprint of the model that shows them; if not given, the file has none.

    Raises:
        UsageError: the file name ends in something else.
        NerfgenError: the file cannot be written.
    """
    if path.suffix != ".npz":
        raise UsageError(f"{path}: codes are written as .npz; give a file name that ends so")
    called = [str(row) for row in range(len(codes))] if names is None else list(names)
    assert len(called) == len(codes), "one name a code"
    with replace_file(path) as temporary:
        np.savez(
            temporary,
            codes=codes.detach().cpu().float().numpy(),
            names=np.array(called, dtype=np.str_),
            **({} if model is None else {"model": np.array(model)}),
        )


def read_codes(
    path: Path, latent_dim: int, model: str | None = None
) -> tuple[Float[Tensor, "n latent"], list[str]]:
    """Read the codes of a file and their names. Nothing in the file is unpickled.

    Args:
        path: a file that `write_codes` wrote, or an .npz with an array `codes`.
        latent_dim: the size of the model's codes.
        model: the model's fingerprint; if not given, it is not compared. A file without one is accepted,
            with a note: people make such files, and earlier versions did.

    Raises:
        UsageError: the file is missing or unreadable, or holds no finite codes or another model's.
    """
    expected = "codes come from `nerfgen sample`, `nerfgen fit` or the viewer"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            codes = np.asarray(arrays["codes"])
            names = [str(name) for name in arrays["names"]] if "names" in arrays else None
            made_with = str(arrays["model"]) if "model" in arrays else None
    except (OSError, KeyError, IndexError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or "not a readable .npz with codes"
        raise UsageError(f"{path}: {reason}; {expected}") from error
    if codes.ndim != 2 or codes.dtype.kind != "f" or len(codes) == 0:
        raise UsageError(
            f"{path}: its codes are an array of {codes.dtype} of shape {codes.shape}, not one code a row; "
            f"{expected}"
        )
    if codes.shape[1] != latent_dim:
        raise UsageError(
            f"{path}: holds codes of size {codes.shape[1]}, the model's are of size {latent_dim}; "
            "use the run that they were made with"
        )
    if model is not None and made_with not in (None, model):
        raise UsageError(
            f"{path}: holds codes of another model, or of this one before it was trained further; use the "
            "run that they were made with, or make them again with this one"
        )
    if model is not None and made_with is None:
        CONSOLE.print(f"{path}: does not say which model its codes belong to; they are shown as they are.")
    with np.errstate(over="ignore"):
        codes = codes.astype(np.float32)
    if not np.isfinite(codes).all():
        raise UsageError(f"{path}: holds codes that are not finite numbers; make the file again")
    if names is not None and len(names) != len(codes):
        raise UsageError(f"{path}: holds {len(codes)} codes and {len(names)} names; make the file again")
    return torch.from_numpy(codes), names or [str(row) for row in range(len(codes))]


def choose_codes(given: str, latent_dim: int, model: str | None = None) -> Float[Tensor, "n latent"]:
    """Read the codes that `FILE.npz` names, which are all of the file, or `FILE.npz:NAME`, which is one.

    Args:
        given: the file and, after a colon, the name of a code or, if none is called so, its row.
        latent_dim: the size of the model's codes.
        model: the model's fingerprint; see `read_codes`.

    Raises:
        UsageError: see `read_codes`; or the file has no such code.
    """
    file, found, name = given.partition(".npz:")
    path = Path(f"{file}.npz") if found else Path(given)
    codes, names = read_codes(path, latent_dim, model)
    if not found:
        return codes
    if name in names:
        row = names.index(name)
    elif name.isdecimal() and int(name) < len(codes):
        row = int(name)
    else:
        few = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        raise UsageError(f"{path}: holds no code {name!r}; it holds {len(codes)}: {few}")
    return codes[row : row + 1]
