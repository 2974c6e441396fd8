"""Which number format the fields' matrix products use."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def has_fast_bf16(device: torch.device | str) -> bool:
    """Whether bf16 matrix products run in hardware on the device.

    A processor without AMX or AVX-512 BF16 emulates them, tens of times slower than fp32.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # Older torch has not both of these.
        probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        return any(getattr(torch.cpu, probe, bool)() for probe in probes)
    return False


def product_dtype(points: Tensor, use_bf16: bool) -> torch.dtype:
    """The number format of a field's matrix products: bf16, or what is in force for these points already.

    It is chosen once a call and then written out in every product: nerfstudio's `--mixed-precision` puts an
    autocast to fp16 around a step, which would otherwise turn some of the products back.
    """
    if use_bf16:
        return torch.bfloat16
    device = points.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else points.dtype


def dense(
    values: Float[Tensor, "*batch inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, "outputs"],
    dtype: torch.dtype,
) -> Float[Tensor, "*batch outputs"]:
    """A dense layer whose product has the number format `dtype`, whatever autocast is in force."""
    with torch.autocast(values.device.type, enabled=False):
        return F.linear(values.to(dtype), weight.to(dtype), bias.to(dtype))
