"""Colors of every kind and depth, against the colors that were put in."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from nerfgen_ns.preprocessing.image_formats import to_8_bits
from nerfgen_ns.preprocessing.photographs import RejectedError, read_alpha, read_photograph, upright_size
from tests.helpers.icc_profiles import (
    DISPLAY_P3,
    PROPHOTO,
    cmyk_profile,
    gray_profile,
    matrix_to_xyz,
    rgb_profile,
)

SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))


@pytest.fixture
def colors() -> np.ndarray:
    """A picture of many colors, some of them white."""
    rows, columns = np.mgrid[:80, :120]
    colors = np.stack([2 * columns, 3 * rows, 255 - columns - rows], axis=-1).astype(np.uint8)
    colors[:8, :8] = 255
    return colors


def write_tiff(path: Path, values: np.ndarray, **options) -> Path:
    import tifffile

    tifffile.imwrite(path, values, **{"photometric": "rgb"} | options)
    return path


def as_srgb(colors: np.ndarray, primaries, gamma: float, d50: bool = False) -> np.ndarray:
    """Colors of other primaries in sRGB, by the formulas of the standard."""
    linear = (colors / 255) ** gamma @ matrix_to_xyz(primaries, d50).T @ np.linalg.inv(matrix_to_xyz(SRGB)).T
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(
    ("primaries", "gamma", "d50"), [(DISPLAY_P3, 2.2, False), (PROPHOTO, 1.8, True), (SRGB, 1.0, False)]
)
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "avif"])
def test_profiles_are_converted_to_srgb(tmp_path, primaries, gamma, d50, suffix):
    path = tmp_path / f"a.{suffix}"
    color = np.full((64, 64, 3), (180, 110, 70), np.uint8)
    Image.fromarray(color).save(path, icc_profile=rgb_profile(primaries, gamma, d50), quality=100)
    expected = as_srgb(color, primaries, gamma, d50)
    assert np.abs(expected - color).max() > 10
    np.testing.assert_allclose(read_photograph(path), expected, atol=5)


def test_gray_and_cmyk_profiles_count_and_those_of_other_colors_do_not(tmp_path):
    gray, rgb = Image.new("L", (64, 64), 120), Image.new("RGB", (64, 64), (180, 110, 70))
    linear = as_srgb(np.full((1, 1, 3), 120), SRGB, 1.0)
    cases = {
        "gray": (gray, gray_profile(1.0), linear),
        "gray with alpha": (
            Image.merge("LA", (gray, Image.new("L", gray.size, 255))),
            gray_profile(1.0),
            linear,
        ),
        "gray under a profile of colors": (gray, rgb_profile(SRGB, 1.0), linear),
        "colors under a profile of inks": (rgb, cmyk_profile(0.5), (180, 110, 70)),
        "colors under a profile of gray": (rgb, gray_profile(1.0), (180, 110, 70)),
        "damaged": (rgb, b"no profile" * 30, (180, 110, 70)),
        "cut off": (rgb, rgb_profile(PROPHOTO, 1.8)[:200], (180, 110, 70)),
    }
    for name, (image, profile, expected) in cases.items():
        image.save(tmp_path / "a.png", icc_profile=profile)
        wanted = np.broadcast_to(expected, (64, 64, 3))
        np.testing.assert_allclose(read_photograph(tmp_path / "a.png"), wanted, atol=2, err_msg=name)
    for ink, gray_of_ink in (((0, 0, 0, 0), 255), ((0, 0, 0, 255), 119)):  # L* 100 and 50
        Image.new("CMYK", (64, 64), ink).save(tmp_path / "a.tif", icc_profile=cmyk_profile(0.5))
        assert read_photograph(tmp_path / "a.tif").mean() == pytest.approx(gray_of_ink, abs=4)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["png", "contiguous", "planar", "gray", "alpha", "lzw"])
def test_deep_images_keep_their_brightness(tmp_path, colors, bits, kind):
    values = np.round(colors / 255.0 * (2**bits - 1)).astype(np.uint16)
    path, expected = tmp_path / "a.tif", colors.astype(int)
    if kind in ("png", "lzw"):
        cv2 = pytest.importorskip("cv2")
        path = tmp_path / ("a.png" if kind == "png" else "a.tif")
        cv2.imwrite(str(path), values[..., ::-1])
    elif kind == "planar":
        write_tiff(path, np.moveaxis(values, 2, 0), planarconfig="separate", compression="zlib")
    elif kind == "gray":
        expected = np.repeat(expected[..., :1], 3, axis=2)
        write_tiff(path, values[..., 0], photometric="minisblack")
    elif kind == "alpha":
        opaque = np.full((*values.shape[:2], 1), 65535, np.uint16)
        write_tiff(path, np.concatenate([values, opaque], axis=2), extrasamples=["unassalpha"])
    else:
        write_tiff(path, values, byteorder=">")
    np.testing.assert_allclose(read_photograph(path), expected, atol=1)
    assert upright_size(path) == (120, 80)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint32"])
def test_floats_and_long_integers_are_read(tmp_path, colors, dtype):
    full = 2**32 - 1 if dtype == "uint32" else 1
    values = (colors / 255.0 * full).astype(dtype)
    np.testing.assert_allclose(read_photograph(write_tiff(tmp_path / "a.tif", values)), colors, atol=1)
    planar = np.moveaxis(values, 2, 0)
    path = write_tiff(tmp_path / "b.tif", planar, planarconfig="separate")
    np.testing.assert_allclose(read_photograph(path), colors, atol=1)


@pytest.mark.parametrize("further", [1, 2])
def test_channels_beside_the_colors_are_no_transparency(tmp_path, colors, further):
    dark = np.zeros((*colors.shape[:2], further), np.uint16)
    values = np.concatenate([colors.astype(np.uint16) * 257, dark], axis=2)
    path = write_tiff(tmp_path / "a.tif", values, extrasamples=["unspecified"] * further)
    np.testing.assert_allclose(read_photograph(path), colors, atol=1)
    assert read_alpha(path) is None


def test_lights_and_gaps_of_floating_point_images_do_not_darken_them(tmp_path, colors):
    values = (colors / 255).astype(np.float32)
    values[40:42, 40:60], values[50:52, 50:60] = 30.0, np.nan
    photograph = read_photograph(write_tiff(tmp_path / "a.tif", values)).astype(int)
    assert (photograph[41, 50] == 255).all()
    np.testing.assert_allclose(photograph[:40], colors[:40], atol=1)
    assert to_8_bits(np.zeros(3, np.uint16)).tolist() == [0, 0, 0]
    assert to_8_bits(np.array([-5, 32767], np.int16)).tolist() == [0, 255]


def test_lab_of_8_and_16_bits_is_read(tmp_path, colors):
    from skimage.color import rgb2lab

    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    ImageCms.applyTransform(Image.fromarray(colors), to_lab).save(tmp_path / "8.tif")
    lab = rgb2lab(colors) * [655.35, 256, 256]
    write_tiff(tmp_path / "16.tif", lab.round().astype(np.int64).astype(np.uint16), photometric="cielab")
    for name in ("8.tif", "16.tif"):
        assert np.abs(read_photograph(tmp_path / name).astype(int) - colors).mean() < 8


@pytest.mark.parametrize("orientation", [3, 6, 7])
@pytest.mark.parametrize("kind", ["8", "8 lzw", "16", "16 planar", "png", "png 16"])
def test_the_orientation_of_a_file_counts_once(tmp_path, colors, orientation, kind):
    turned = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE}
    image = Image.fromarray(colors).convert("RGBA")
    image.putalpha(Image.fromarray(colors[..., 0]))
    stored = image.transpose(turned[orientation])
    path = tmp_path / "a.tif"
    values = np.asarray(stored).astype(np.uint16) * 257
    tags = {"extratags": [(274, 3, 1, orientation, True)], "extrasamples": ["unassalpha"]}
    if kind == "16":
        write_tiff(path, values, **tags)
    elif kind == "16 planar":
        write_tiff(path, np.moveaxis(values, 2, 0), planarconfig="separate", **tags)
    elif kind.startswith("8"):
        stored.save(path, tiffinfo={274: orientation}, compression="tiff_lzw" if "lzw" in kind else None)
    else:
        exif = Image.Exif()
        exif[274] = orientation
        path = tmp_path / "a.png"
        stored.save(path, exif=exif)
        if kind == "png 16":
            pytest.importorskip("cv2").imwrite(str(tmp_path / "b.png"), values[..., [2, 1, 0, 3]])
            head, tag = (tmp_path / "b.png").read_bytes(), path.read_bytes()
            start = tag.index(b"eXIf") - 4
            chunk = tag[start : start + 12 + int.from_bytes(tag[start : start + 4], "big")]
            path.write_bytes(head[:33] + chunk + head[33:])
    assert upright_size(path) == (120, 80)
    np.testing.assert_array_equal(read_alpha(path), colors[..., 0])
    over_white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    np.testing.assert_allclose(read_photograph(path), np.asarray(over_white, int), atol=2)


@pytest.mark.parametrize("suffix", ["gif", "avif", "jp2", "jfif", "ppm", "webp", "bmp"])
def test_other_formats_are_read(tmp_path, colors, suffix):
    formats = {"jfif": "JPEG", "jp2": "JPEG2000"}
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(colors).save(path, format=formats.get(suffix, suffix.upper()), quality=95)
    path.rename(tmp_path / "without suffix")
    for name in (path, tmp_path / "without suffix"):
        (tmp_path / "without suffix").rename(name) if name == path else path.rename(name)
        assert np.abs(read_photograph(name).astype(int) - colors).mean() < 6
        assert upright_size(name) == (120, 80)


def test_heic_is_read_where_pillow_heif_is_installed(tmp_path, colors):
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    for name in ("a.heic", "renamed.jpg"):
        heif.from_pillow(Image.fromarray(colors)).save(tmp_path / name, quality=95, format="HEIF")
        assert np.abs(read_photograph(tmp_path / name).astype(int) - colors).mean() < 5
        assert upright_size(tmp_path / name) == (120, 80)


def test_heic_without_pillow_heif_is_rejected_with_the_way_to_read_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    for name, brands in {"a.HEIC": b"heic\0\0\0\0mif1", "renamed.jpg": b"mif1\0\0\0\0heic"}.items():
        (tmp_path / name).write_bytes(b"\0\0\0\x14ftyp" + brands + bytes(2000))
        with pytest.raises(RejectedError, match="pillow-heif") as caught:
            read_photograph(tmp_path / name)
        assert "JPEG" in caught.value.mend and upright_size(tmp_path / name) is None
