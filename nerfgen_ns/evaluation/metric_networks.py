"""Weights of the networks inside metrics: from a file of the user's, or fetched; never unpickled."""

from __future__ import annotations

import http.client
import pickle
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import torch
from torch import Tensor

from nerfgen_ns.errors import NerfgenError

PATIENCE = 10.0
"""Seconds to wait for an answer from the network."""


class Unavailable(NerfgenError):
    """A metric cannot be computed here: one line with the reason and the file that would mend it."""


def read_weights(path: Path | None, url: str, option: str) -> dict[str, Tensor]:
    """The weights of a network.

    Args:
        path: a file with them; if not given, torch's cache is asked, and then the network.
        url: where they are published; its last part names the file.
        option: what gives the path, for the message.

    Raises:
        Unavailable: the file is missing or holds no weights, or they cannot be fetched.
    """
    name = url.rsplit("/", 1)[-1]
    if path is not None:
        try:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        except OSError as error:
            raise Unavailable(f"{path}: {error.strerror or error}; {option} takes {name}") from error
        except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
            raise Unavailable(f"{path}: not a file of weights; {option} takes {name}") from error
        if not isinstance(weights, dict) or not all(isinstance(part, Tensor) for part in weights.values()):
            raise Unavailable(f"{path}: not a file of weights; {option} takes {name}")
        return weights
    try:
        with _patience(), redirect_stdout(sys.stderr):
            return torch.hub.load_state_dict_from_url(
                url, map_location="cpu", progress=False, check_hash=True, weights_only=True
            )
    except (OSError, RuntimeError, http.client.HTTPException, pickle.UnpicklingError) as error:
        reason = getattr(error, "reason", None) or error
        raise Unavailable(
            f"{name} cannot be fetched ({reason}); get {url} on another machine and give the file as {option}"
        ) from error


@contextmanager
def _patience() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
