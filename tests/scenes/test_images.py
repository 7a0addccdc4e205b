from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

from render.errors import InshaderError
from scenes.images import read_image, read_images, reduce_image, reduced_size, stacked
from tests.scenes.test_png16 import encoded

rng = np.random.default_rng(0)


def reduced_slowly(picture: np.ndarray, w: int, h: int) -> np.ndarray:
    """Each new pixel by itself: premultiplied mean over its area, straightened at the end."""
    h0, w0, channels = picture.shape
    out = np.zeros((h, w, channels))
    for j in range(h):
        for i in range(w):
            area, colour, alpha = 0.0, np.zeros(3), 0.0
            for y in range(h0):
                dy = min(y + 1, (j + 1) * h0 / h) - max(y, j * h0 / h)
                for x in range(w0):
                    dx = min(x + 1, (i + 1) * w0 / w) - max(x, i * w0 / w)
                    if dx > 0 and dy > 0:
                        a = float(picture[y, x, 3]) if channels == 4 else 1.0
                        area += dx * dy
                        alpha += dx * dy * a
                        colour += dx * dy * a * picture[y, x, :3]
            out[j, i, :3] = colour / max(alpha, 1e-9)
            if channels == 4:
                out[j, i, 3] = alpha / area
                if out[j, i, 3] < 0.5:
                    out[j, i] = 0
    return out


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("size", [(6, 4), (5, 3), (7, 8), (1, 1)])
def test_area_filter(dtype: type, channels: int, size: tuple[int, int]) -> None:
    picture = rng.integers(0, np.iinfo(dtype).max + 1, (8, 12, channels)).astype(dtype)
    if channels == 4:
        picture[:4, :6, 3] = 0
    got = reduce_image(picture, *size)
    assert got.dtype == dtype
    assert got.shape == (size[1], size[0], channels)
    assert (reduce_image(picture, 12, 8) == picture).all()
    assert np.abs(got - reduced_slowly(picture, *size)).max() <= (0.51 if dtype == np.uint8 else 1.0)


def test_hidden_colour_does_not_bleed() -> None:
    picture = np.zeros((2, 2, 4), np.uint8)
    picture[..., :3] = [0, 255, 0]  # green under alpha 0
    picture[0, 0] = [200, 0, 0, 255]
    assert reduce_image(picture, 1, 1).tolist() == [[[200, 0, 0, 64]]]


def test_reduced_size() -> None:
    assert reduced_size(800, 600, 400) == (400, 300)
    assert reduced_size(800, 600, None) == (800, 600)
    assert reduced_size(80, 60, 400) == (80, 60)
    assert reduced_size(1000, 1, 10) == (10, 1)


def test_kinds_of_pictures(tmp_path: Path) -> None:
    grey = Image.fromarray(rng.integers(0, 256, (5, 7), np.uint8))
    files = {
        "grey.png": (grey, 3),
        "grey_alpha.png": (grey.convert("LA"), 4),
        "palette.png": (grey.convert("RGB").quantize(), 3),
        "bits.png": (grey.convert("1"), 3),
        "colour.jpg": (grey.convert("RGB"), 3),
        "alpha.png": (grey.convert("RGBA"), 4),
    }
    for name, (picture, channels) in files.items():
        picture.save(tmp_path / name)
        got = read_image(tmp_path / name)
        assert got.shape == (5, 7, channels), name
        assert got.dtype == np.uint8
    assert (read_image(tmp_path / "bits.png") == np.asarray(grey.convert("1"))[..., None] * 255).all()
    files["palette.png"][0].save(tmp_path / "clear.png", transparency=3)
    assert read_image(tmp_path / "clear.png").shape == (5, 7, 4)
    iio.imwrite(tmp_path / "deep.png", np.full((5, 7), 40000, np.uint16))
    assert read_image(tmp_path / "deep.png").tolist() == np.full((5, 7, 3), 40000).tolist()


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "YCbCr"])
def test_colours_that_are_neither_grey_nor_rgb(tmp_path: Path, mode: str) -> None:
    """Four channels of ink are not RGB and alpha."""
    file = tmp_path / ("print.jpg" if mode == "CMYK" else "print.tif")
    Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8)).convert(mode).save(file)
    with pytest.raises(
        InshaderError, match=f"print.*: its colours are {mode}, expected grey or RGB"
    ) as caught:
        read_image(file)
    assert "\n" not in str(caught.value)


def test_one_transparent_colour(tmp_path: Path) -> None:
    """tRNS of pictures without a palette: (2, 3) is of that colour, alone."""
    for name, shape, dtype in (
        ("grey", (5, 7), np.uint8),
        ("rgb", (5, 7, 3), np.uint8),
        ("deep_grey", (5, 7), np.uint16),
        ("deep_rgb", (5, 7, 3), np.uint16),
    ):
        picture = rng.integers(0, 100, shape).astype(dtype)
        picture[2, 3] = [200, 150, 170] if len(shape) == 3 else 200
        file = tmp_path / f"{name}.png"
        clear = tuple(map(int, np.atleast_1d(picture[2, 3])))
        if name == "deep_rgb":
            file.write_bytes(encoded(picture, [0], clear=clear))
        else:
            Image.fromarray(picture).save(file, transparency=clear if len(clear) == 3 else clear[0])
        got = read_image(file)
        assert got.dtype == dtype and got.shape == (5, 7, 4), name
        assert (got[..., :3] == picture.reshape(5, 7, -1)).all(), name
        assert np.argwhere(got[..., 3] == 0).tolist() == [[2, 3]], name
        assert (np.unique(got[..., 3]) == [0, np.iinfo(dtype).max]).all(), name


def test_palette_with_alpha(tmp_path: Path) -> None:
    """Its first channel holds places in the palette, no grey."""
    palette = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8)).quantize(16)
    palette.convert("PA").save(tmp_path / "pa.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "pa.tif"), np.asarray(palette.convert("RGBA")))


def test_alpha_that_hides_nothing_is_dropped() -> None:
    opaque = rng.integers(0, 256, (4, 4, 4), np.uint8)
    opaque[..., 3] = 255
    assert (stacked([opaque, opaque[..., :3]]) == opaque[..., :3]).all()
    deep = opaque[..., :3].astype(np.uint16)
    assert stacked([deep, opaque]).shape == (2, 4, 4, 3)
    assert (stacked([opaque, opaque], masked=True) == opaque).all()
    clear = opaque.copy()
    clear[1, 2, 3] = 254
    assert (stacked([opaque, clear]) == [opaque, clear]).all()


def test_mixed_set_takes_the_widest_kind(tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "a.png", np.full((4, 4, 3), 255, np.uint8))
    iio.imwrite(tmp_path / "b.png", np.full((4, 4, 4), 128, np.uint8))
    iio.imwrite(tmp_path / "c.png", np.full((4, 4), 1000, np.uint16))
    images, size = read_images([tmp_path / name for name in ("a.png", "b.png", "c.png")], 2)
    assert images.shape == (3, 2, 2, 4)
    assert images.dtype == np.uint16
    assert size == (4, 4)
    assert images[:, 0, 0].tolist() == [[65535] * 4, [128 * 257] * 4, [1000, 1000, 1000, 65535]]


def test_mistakes(tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    iio.imwrite(good, rng.integers(0, 256, (40, 40, 4), np.uint8))
    for name, content in {
        "cut.png": good.read_bytes()[:2000],
        "empty.png": b"",
        "text.png": b"hello",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InshaderError, match=name):
            read_images([good, tmp_path / name])
    with pytest.raises(InshaderError, match=r"gone\.png: the picture is missing"):
        read_images([good, tmp_path / "gone.png"])
    iio.imwrite(tmp_path / "small.png", np.zeros((20, 30, 4), np.uint8))
    with pytest.raises(InshaderError, match=r"small\.png: 30x20 pixels, but .*good\.png has 40x40"):
        read_images([good, tmp_path / "small.png"], 10)
