"""2D feature extractors: those that come along, their model files, and what is refused."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from nerfgen_ns.errors import NerfgenError, UsageError
from nerfgen_ns.semantics.extractors import Daisy, Dino, open_extractor, patch_grid, vision_transformer
from tests.helpers.feature_runs import offer

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "cells"), [((24, 32), (24, 32)), ((128, 96), (64, 48)), ((20, 256), (5, 64))]
)
def test_daisy_covers_pictures_of_any_size(size: tuple[int, int], cells: tuple[int, int]) -> None:
    features = open_extractor("daisy")(np.zeros((*size, 3), np.uint8))
    assert features.shape == (*cells, 200) and features.dtype == np.float32


def test_daisy_describes_a_spot_where_it_is() -> None:
    picture = np.zeros((128, 128, 3), np.uint8)
    picture[60:64, 90:94] = 255
    features = Daisy()(picture)
    weight = np.linalg.norm(features - features[0, 0], axis=-1)
    row, column = np.mgrid[:64, :64]
    middle = [float((weight * place).sum() / weight.sum()) for place in (row, column)]
    assert middle[0] == pytest.approx(30.5, abs=0.5) and middle[1] == pytest.approx(45.5, abs=2.0)


@pytest.mark.parametrize(
    "found",
    [
        np.zeros((3, 4)),
        np.zeros((3, 0, 4)),
        np.full((3, 4, 5), np.nan),
        np.array([[["a"]]]),
        None,
    ],
)
def test_what_cannot_be_features_is_one_line(found: object, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, odd=lambda: lambda photograph: found)
    with pytest.raises(NerfgenError, match="'odd'"):
        open_extractor("odd")(PICTURE)


def test_the_number_of_channels_has_to_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, odd=lambda: lambda photograph: np.ones((2, 2, len(photograph))))
    extractor = open_extractor("odd")
    extractor(PICTURE)
    with pytest.raises(NerfgenError, match="'odd'"):
        extractor(PICTURE[:20])


def test_an_extractor_that_is_not_there_and_one_that_fails_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"'nobodys'.*daisy"):
        open_extractor("nobodys")

    def fail(photograph: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError("of zero")

    offer(monkeypatch, odd=lambda: fail)
    with pytest.raises(NerfgenError, match=r"'odd'.*ZeroDivisionError"):
        open_extractor("odd")(PICTURE)
    with pytest.raises(UsageError, match=r"--features-file a\.pt"):
        open_extractor("daisy", Path("a.pt"))


def small_transformer(**options: object) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(
        img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=1, num_classes=0, **options
    ).eval()


@pytest.mark.parametrize("layer_scale", [None, 1e-5])
def test_tensors_give_the_tokens_of_their_transformer(layer_scale: float | None, tmp_path: Path) -> None:
    made = small_transformer(init_values=layer_scale)
    state = {**made.state_dict(), "mask_token": torch.zeros(1, 64)}
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(vision_transformer(state, 32)(image), made.forward_features(image))
        assert vision_transformer(state, 50)(torch.rand(1, 3, 48, 48)).shape == (1, 37, 64)
    save_file(made.state_dict(), tmp_path / "small.safetensors")
    features = open_extractor("dino", tmp_path / "small.safetensors")(PICTURE)
    assert features.shape == (28, 28, 64)


def test_torchscript_is_read_and_may_return_maps_or_tokens(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.AvgPool2d(32)), tmp_path / "pool.pt")
    features = open_extractor("dinov2", tmp_path / "pool.pt")(PICTURE)
    assert features.shape == (14, 14, 3)
    tokens = torch.arange(2 * 10.0).view(1, 10, 2)
    assert torch.equal(patch_grid(tokens)[0, 0], tokens[0, 1])
    with pytest.raises(NerfgenError, match="--features-file"):
        patch_grid({"x": tokens})


def test_files_of_other_kinds_are_refused_and_nothing_in_them_is_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "sprung",)

    (tmp_path / "a.pth").write_bytes(pickle.dumps(Trap()))
    (tmp_path / "a.pt").write_bytes(pickle.dumps(Trap()))
    torch.save({"x": torch.zeros(1)}, tmp_path / "b.pt")
    (tmp_path / "a.safetensors").write_bytes(b"no tensors")
    save_file({"x": torch.zeros(2)}, tmp_path / "b.safetensors")
    for name, kind in (
        ("a.pth", UsageError),
        ("gone.pt", UsageError),
        ("a.pt", NerfgenError),
        ("b.pt", NerfgenError),
        ("a.safetensors", NerfgenError),
        ("b.safetensors", NerfgenError),
    ):
        with pytest.raises(kind) as raised:
            open_extractor("dino", tmp_path / name)
        assert "\n" not in str(raised.value)
        assert name in str(raised.value) or "--features-file" in str(raised.value)
    assert not (tmp_path / "sprung").exists()


def test_weights_that_cannot_be_had_are_one_line_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def refuse(url: str, **options: object) -> None:
        asked.update(options, url=url)
        raise OSError("Name or service not known\nand more")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    with pytest.raises(NerfgenError, match="--features-file") as raised:
        open_extractor("dino")
    assert Dino.URL in str(raised.value) and "\n" not in str(raised.value)
    assert asked["url"] == Dino.URL and asked["weights_only"] is True
