"""Which number format the fields' matrix products use."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def has_fast_bf16(device: torch.device | str) -> bool:
    """Whether bf16 matrix products run in hardware on the device.

    A processor without AMX or AVX-512 BF16 emulates them, tens of times slower than fp32.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return False


def field_precision(device: torch.device, use_bf16: bool) -> AbstractContextManager:
    """The context in which a field runs its layers: bf16 products, or whatever is in force already."""
    if use_bf16:
        return torch.autocast(device_type=device.type, dtype=torch.bfloat16)
    return nullcontext()


def product_dtype(points: Tensor, use_bf16: bool) -> torch.dtype:
    """The number format of a field's matrix products: bf16, or what is in force for these points already."""
    with field_precision(points.device, use_bf16):
        if torch.is_autocast_enabled(points.device.type):
            return torch.get_autocast_dtype(points.device.type)
    return points.dtype
