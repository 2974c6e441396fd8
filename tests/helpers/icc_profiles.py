"""ICC profiles made from their primaries and curves: no profile of anyone's has to be kept."""

import struct

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
D65_TO_D50 = np.array(
    [[1.0479, 0.0229, -0.0502], [0.0296, 0.9904, -0.0171], [-0.0092, 0.0151, 0.7519]]
)  # Bradford's
DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
PROPHOTO = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001))


def rgb_profile(primaries: tuple[tuple[float, float], ...], gamma: float, d50: bool = False) -> bytes:
    """A matrix profile of RGB colors with a gamma curve; its white is that of daylight, D65 or D50."""
    matrix = matrix_to_xyz(primaries, d50)
    tags = {b"wtpt": _xyz(D50)}
    for number, color in enumerate((b"r", b"g", b"b")):
        tags[color + b"XYZ"] = _xyz(matrix[:, number])
        tags[color + b"TRC"] = _curve(gamma)
    return _profile(b"RGB ", b"XYZ ", tags)


def matrix_to_xyz(primaries: tuple[tuple[float, float], ...], d50: bool = False) -> np.ndarray:
    """From linear RGB to XYZ as seen under D50."""
    white = np.array(D50) if d50 else np.array([0.9505, 1.0, 1.0891])
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in primaries]).T
    matrix = columns * np.linalg.solve(columns, white)
    return matrix if d50 else D65_TO_D50 @ matrix


def gray_profile(gamma: float) -> bytes:
    """A profile of gray values with a gamma curve."""
    return _profile(b"GRAY", b"XYZ ", {b"wtpt": _xyz(D50), b"kTRC": _curve(gamma)})


def cmyk_profile(ink: float) -> bytes:
    """A profile of inks that darken lightness alone, each full one by `ink` of what is left of it."""
    corners = np.array([[(number >> bit) & 1 for bit in (3, 2, 1, 0)] for number in range(16)])
    lightness = 255 * (1 - ink) ** corners.sum(axis=1)
    table = np.stack([lightness, np.full(16, 128.0), np.full(16, 128.0)], axis=1).round().astype(np.uint8)
    ramp = bytes(range(256))
    head = (
        b"mft1"
        + bytes(4)
        + bytes([4, 3, 2, 0])
        + struct.pack(">9i", *(np.eye(3).ravel() * 65536).astype(int))
    )
    return _profile(
        b"CMYK", b"Lab ", {b"wtpt": _xyz(D50), b"A2B0": head + ramp * 4 + table.tobytes() + ramp * 3}
    )


def _xyz(values) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(float(value) * 65536) for value in values))


def _curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def _profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(78)} | tags
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(">4sI4s4s4s12x4s28x3i48x", bytes(4), 0x02400000, kind, space, connection, b"acsp",
                       *(round(value * 65536) for value in D50))  # fmt: skip
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    size = start + len(body)
    assert len(head) == 124, len(head)
    return struct.pack(">I", size) + head + table + body
