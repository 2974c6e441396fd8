"""How many operations the matrix products of a training step take, and how many the machine can do.

A layer that takes `inputs` values to `outputs` values costs 2·inputs·outputs operations a row in the forward
pass, as many again for the gradient of its weights, and as many again for the gradient of its inputs unless
those are an encoding, which needs none. Rows are samples in the foreground field and rays elsewhere. Nothing
else is counted: no encoding, activation, compositing, optimizer.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import torch

from benchmarks.reference import ReferenceSettings
from nerfgen_ns.model.config import NerfgenModelConfig
from nerfgen_ns.utils.machine import has_fast_bf16

FORMULA = (
    "2·inputs·outputs operations a row and layer, three times (forward, gradients of weights and of inputs); "
    "twice where the inputs are an encoding alone; rows are samples (foreground) or rays (codes, background)"
)
SECONDS_EACH_SIZE = 0.5


class Operations(NamedTuple):
    """Operations of the matrix products, forward and backward."""

    a_sample: int
    a_ray: int

    def of(self, samples: int, rays: int) -> int:
        """Count the operations of this many samples on this many rays."""
        return self.a_sample * samples + self.a_ray * rays


def encoded_size(octaves: int) -> int:
    """Return the number of values that encode a point or a direction."""
    return 3 + 6 * octaves


def hidden_products(width: int, layers: int, outputs: int) -> int:
    """Count multiplications of one row in the forward pass, after the layer that the encoding enters."""
    return (layers - 1) * width * width + outputs * width


def reference_operations(settings: ReferenceSettings) -> Operations:
    """Count for the literal method: the code enters beside every sample's position, in both layers."""
    width, entering = settings.width, encoded_size(settings.octaves) + settings.latent_dim
    hidden = hidden_products(width, settings.layers, outputs=4)
    background_width = settings.background_width
    background = (encoded_size(settings.background_octaves) + settings.latent_dim) * background_width
    background += hidden_products(background_width, settings.background_layers - 1, outputs=3)
    return Operations(a_sample=6 * (2 * entering * width + hidden), a_ray=6 * background)


def own_operations(config: NerfgenModelConfig) -> Operations:
    """Count for the fast path: encodings enter without a gradient, and codes once a ray."""
    foreground, background = config.foreground, config.background
    width, encoded = foreground.hidden_dim, encoded_size(foreground.num_frequencies)
    code_layers = foreground.num_layers if foreground.code_in_every_layer else 2
    a_ray = 6 * code_layers * config.latent_dim * width
    if background.learned:
        background_width = background.hidden_dim
        a_ray += 4 * encoded_size(background.num_frequencies) * background_width
        a_ray += 6 * config.latent_dim * background_width
        a_ray += 6 * hidden_products(background_width, background.num_layers - 1, outputs=3)
    return Operations(
        a_sample=4 * 2 * encoded * width + 6 * hidden_products(width, foreground.num_layers, outputs=4),
        a_ray=a_ray,
    )


def measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the most operations a second that large square matrix products of the format reach now."""
    sizes = (2048, 4096, 8192) if device.type == "cuda" else (512, 1024, 2048)
    return max(_rate(device, dtype, size) for size in sizes)


def measured_peaks(device: torch.device) -> dict[str, float]:
    """Return `measured_peak` of fp32 and, where the device has it in hardware, of bf16."""
    peaks = {"fp32": measured_peak(device, torch.float32)}
    if has_fast_bf16(device):
        peaks["bf16"] = measured_peak(device, torch.bfloat16)
    return peaks


def _rate(device: torch.device, dtype: torch.dtype, size: int) -> float:
    first, second = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    product = first @ second
    synchronize(device)
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < SECONDS_EACH_SIZE:
        for _ in range(10 if device.type == "cuda" else 1):
            torch.matmul(first, second, out=product)
            count += 1
        synchronize(device)
    return 2.0 * size**3 * count / (time.perf_counter() - begin)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
