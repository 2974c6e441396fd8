"""Networks of metrics: weights from a file that are really used, and none where there are none."""

import hashlib
import math
import pickle
import socket
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nerfgen_ns.metrics import networks as metric_networks
from nerfgen_ns.metrics import samples as sample_metrics
from nerfgen_ns.metrics.networks import Lpips, Unavailable, read_weights
from nerfgen_ns.metrics.samples import Inception

# The domain .invalid never resolves, with a network or without.
NOWHERE = "https://weights.invalid/weights-of-nobody.pth"
ALEXNET = [(64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3)]
LAYERS = [0, 3, 6, 8, 10]


def random_alexnet(seed: int) -> dict[str, torch.Tensor]:
    """Weights as torchvision names them."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for layer, (outputs, inputs, size) in zip(LAYERS, ALEXNET, strict=True):
        scale = (2 / (inputs * size * size)) ** 0.5
        weights[f"features.{layer}.weight"] = scale * torch.randn(
            outputs, inputs, size, size, generator=generator
        )
        weights[f"features.{layer}.bias"] = 0.1 * torch.randn(outputs, generator=generator)
    return weights


def lpips_by_hand(first: torch.Tensor, second: torch.Tensor, weights: dict[str, torch.Tensor]) -> float:
    """Zhang et al. (CVPR 2018), section 3, with the linear layers of version 0.1."""
    from torchmetrics.functional.image import lpips

    heads = Path(lpips.__file__).with_name("lpips_models") / "alex.pth"
    linear = torch.load(heads, map_location="cpu", weights_only=True)
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    seen = [((2 * image - 1 - shift) / scale).permute(2, 0, 1)[None] for image in (first, second)]
    total = 0.0
    for place, layer in enumerate(LAYERS):
        if layer in (3, 6):
            seen = [F.max_pool2d(values, 3, 2) for values in seen]
        stride, padding = ((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))[place]
        kernel, bias = weights[f"features.{layer}.weight"], weights[f"features.{layer}.bias"]
        seen = [F.relu(F.conv2d(values, kernel, bias, stride, padding)) for values in seen]
        unit = [values / (values**2).sum(1, keepdim=True).add(1e-8).sqrt() for values in seen]
        total += float(F.conv2d((unit[0] - unit[1]) ** 2, linear[f"lin{place}.model.1.weight"]).mean())
    return total


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    first, second = torch.rand(2, 40, 48, 3, generator=torch.Generator().manual_seed(0))
    return first, second


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save(random_alexnet(0), path)
    return path


@pytest.fixture(scope="module")
def inception_weights() -> dict[str, torch.Tensor]:
    """Random weights of Inception that keep the size of what they are given."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Shapes(FeatureExtractorInceptionV3):
        def load_state_dict(self, *args, **kwargs):
            return None

    nothing = Path(__file__).parent / "no-such-file"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", lambda *args, **kwargs: {})
        weights = Shapes("shapes", ["2048"], feature_extractor_weights_path=nothing).state_dict()
    generator = torch.Generator().manual_seed(0)
    for value in weights.values():
        if value.ndim == 4:
            value.normal_(std=(2 / value[0].numel()) ** 0.5, generator=generator)
    return weights


def test_lpips_of_a_backbone_given_by_path_equals_the_definition(images, alexnet):
    lpips = Lpips(alexnet)
    assert lpips.unavailable is None
    assert lpips(*images) == pytest.approx(lpips_by_hand(*images, random_alexnet(0)), rel=1e-4)
    assert lpips(images[0], images[0]) == 0.0


def test_lpips_inside_a_matte_sees_black_around_it(images, alexnet):
    matte = torch.zeros(40, 48)
    matte[5:30, 8:40] = 0.9
    black = [torch.where((matte > 0.5)[..., None], image, 0.0) for image in images]
    lpips = Lpips(alexnet)
    assert lpips(*images, matte) == pytest.approx(lpips(*black))
    assert math.isnan(lpips(*images, 0 * matte))


def test_lpips_of_constant_and_broken_and_small_images(images, alexnet):
    lpips = Lpips(alexnet)
    gray, white = torch.full((40, 48, 3), 0.5), torch.ones(40, 48, 3)
    assert lpips(gray, white) == pytest.approx(lpips_by_hand(gray, white, random_alexnet(0)), rel=1e-4)
    broken = images[0].clone()
    broken[20, 20] = math.nan
    assert math.isnan(lpips(broken, images[1]))
    assert lpips(images[0] + 1.0, images[1]) == pytest.approx(lpips(white, images[1]))
    assert math.isnan(lpips(images[0][:30], images[1][:30]))
    assert math.isfinite(lpips(images[0][:31], images[1][:31]))


def test_inception_features_come_from_the_weights_given_by_path(tmp_path, inception_weights):
    from torchmetrics.image.fid import NoTrainInceptionV3

    path = tmp_path / "inception.pth"
    torch.save(inception_weights, path)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)
    inception = Inception(path)
    assert inception.unavailable is None
    features = inception.features(list(pixels), batch=2)
    assert features.pooled.shape == (3, 2048) and features.logits.shape == (3, 1008)
    reference = NoTrainInceptionV3("reference", ["2048"], str(path), antialias=False)
    expected = reference(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    assert expected.std() > 1e-3
    torch.testing.assert_close(features.pooled, expected, rtol=1e-3, atol=1e-4)
    logits = expected @ inception_weights["fc.weight"].T
    torch.testing.assert_close(features.logits, logits, rtol=1e-3, atol=1e-3)
    one_by_one = inception.features([pixels[0], pixels[1][:10]])
    torch.testing.assert_close(one_by_one.pooled[0], features.pooled[0], rtol=1e-3, atol=1e-4)


def test_without_a_network_the_metrics_say_which_file_they_need(monkeypatch, tmp_path, images):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(metric_networks, "BACKBONE", NOWHERE)
    monkeypatch.setattr(sample_metrics, "INCEPTION", NOWHERE)
    for metric, option in ((Lpips(), "--weights.lpips"), (Inception(), "--weights.inception")):
        assert metric.unavailable is not None
        assert "weights-of-nobody.pth" in metric.unavailable and option in metric.unavailable
        assert "\n" not in metric.unavailable
    assert math.isnan(Lpips()(*images))
    with pytest.raises(Unavailable, match="weights-of-nobody"):
        Inception().features([np.zeros((8, 8, 3), dtype=np.uint8)])


def test_a_silent_network_is_not_waited_for(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("nerfgen_ns.metrics.networks.PATIENCE", 0.2)
    before = socket.getdefaulttimeout()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/weights-of-nobody.pth"
        with pytest.raises(Unavailable, match=r"weights-of-nobody\.pth.*--weights\.lpips"):
            read_weights(None, url, "--weights.lpips")
    assert socket.getdefaulttimeout() == before


@pytest.mark.parametrize("is_the_file", [True, False])
def test_fetched_weights_are_kept_if_their_hash_is_that_of_their_name(monkeypatch, tmp_path, is_the_file):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    torch.save({"layer": torch.ones(2)}, tmp_path / "weights")
    content = (tmp_path / "weights").read_bytes()
    digest = hashlib.sha256(content if is_the_file else b"another").hexdigest()[:8]
    (tmp_path / "weights").rename(tmp_path / f"weights-{digest}.pth")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/weights-{digest}.pth"
        if is_the_file:
            assert torch.equal(read_weights(None, url, "--weights.lpips")["layer"], torch.ones(2))
        else:
            with pytest.raises(Unavailable, match=r"weights-\w+\.pth"):
                read_weights(None, url, "--weights.lpips")
        server.shutdown()
    kept = list((tmp_path / "cache").rglob("*.pth"))
    assert len(kept) == is_the_file
    if is_the_file:
        assert torch.equal(read_weights(None, url, "--weights.lpips")["layer"], torch.ones(2))


def test_networks_are_loaded_once_and_not_before_they_are_asked_for(monkeypatch):
    calls = []

    def refuse(*args: object) -> None:
        calls.append(args)
        raise Unavailable("no")

    monkeypatch.setattr(metric_networks, "read_weights", refuse)
    lpips = Lpips()
    assert calls == []
    assert [lpips.unavailable, lpips.unavailable] == ["no", "no"]
    assert len(calls) == 1


class Malicious:
    def __reduce__(self):
        return (Path.touch, (Path("unpickled"),))


@pytest.mark.parametrize("content", ["missing", "text", "list", "code", "other network"])
def test_a_file_that_holds_no_such_weights_is_named_and_never_unpickled(
    content, tmp_path, monkeypatch, images
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "given.pth"
    if content == "text":
        path.write_text("<html>404</html>")
    elif content == "list":
        torch.save([torch.zeros(3)], path)
    elif content == "code":
        path.write_bytes(pickle.dumps(Malicious()))
    elif content == "other network":
        torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, path)
    for metric, published in (
        (Lpips(path), "alexnet-owt-7be5be79.pth"),
        (Inception(path), "weights-inception-2015-12-05-6726825d.pth"),
    ):
        assert metric.unavailable is not None
        assert str(path) in metric.unavailable and published in metric.unavailable
    assert math.isnan(Lpips(path)(*images))
    assert not (tmp_path / "unpickled").exists()
