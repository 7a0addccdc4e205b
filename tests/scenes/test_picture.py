"""Single pictures: every kind of file, where they lie in the world, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image, ImageCms

from render.errors import InshaderError
from scenes import load_dataset, load_scene
from scenes.dataset import Picture
from scenes.picture import DISTANCE
from scenes.rgbe import read_rgbe

rng = np.random.default_rng(0)
COLOURS = rng.integers(0, 256, (12, 20, 4), np.uint8)


def read(path: Path, *overrides: str) -> Picture:
    dataset = load_dataset(load_scene("image", [f"data.path={path}", *overrides]))
    assert isinstance(dataset, Picture)
    return dataset


def told(path: Path, *overrides: str) -> str:
    with pytest.raises(InshaderError) as caught:
        read(path, *overrides)
    message = str(caught.value)
    assert path.name in message and "\n" not in message
    return message


def write_hdr(path: Path, rows: np.ndarray, runs: bool) -> None:
    """Rows (h, w, 4) uint8 of mantissas and exponents."""
    h, w = rows.shape[:2]
    out = b"#?RADIANCE\n# a comment\nFORMAT=32-bit_rle_rgbe\n\n-Y %d +X %d\n" % (h, w)
    for row in rows:
        if not runs:
            out += row.tobytes()
            continue
        out += bytes([2, 2, w >> 8, w & 255])
        for channel in row.T:
            same = bool((channel == channel[0]).all())
            out += bytes([128 + w, channel[0]]) if same else bytes([w]) + channel.tobytes()
    path.write_bytes(out)


def write_exr(path: Path, **channels: np.ndarray) -> None:
    openexr = pytest.importorskip("OpenEXR")
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    openexr.File(header, channels).write(str(path))


def test_it_lies_in_the_plane_pixel_on_pixel(tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "a.png", COLOURS[..., :3])
    picture = read(tmp_path / "a.png", "data.background=[0.1, 0.2, 0.3]")
    assert (picture.test.images[0] == COLOURS[..., :3]).all() and picture.test.names == ("a",)
    low, high = picture.bounds
    assert math.hypot(*(high - low)[:2]) == pytest.approx(2) and (low == -high).all() and high[2] > 0
    assert (high / low)[0] == (high / low)[1] and high[0] / high[1] == pytest.approx(20 / 12)
    assert np.allclose(picture.background, [0.1, 0.2, 0.3]) and picture.background_name == "0.1 0.2 0.3"
    assert picture.peak == 1 and picture.up.tolist() == [0, 1, 0]
    rays_o, rays_d = picture.test.cameras[0].rays()
    assert np.allclose(rays_o, [0, 0, DISTANCE])
    x = rays_o - rays_o[..., 2:] / rays_d[..., 2:] * rays_d
    j, i = np.mgrid[:12, :20]
    wanted = low[:2] + np.stack([(i + 0.5) / 20, 1 - (j + 0.5) / 12], -1) * (high - low)[:2]
    assert np.abs(x[..., :2] - wanted).max() < 1e-6
    corner = picture.world_from_source @ [20, 12, 0, 1]
    assert np.allclose(corner[:2], high[:2]) and np.allclose(picture.world_from_source[:2, 3], low[:2])


def test_kinds_of_whole_numbers(tmp_path: Path) -> None:
    grey, two = COLOURS[..., 0], np.ascontiguousarray(COLOURS[..., :2])
    files = {
        "grey.png": (Image.fromarray(grey), np.stack([grey] * 3, -1)),
        "grey_alpha.png": (
            Image.fromarray(two, "LA"),
            np.concatenate([np.stack([grey] * 3, -1), two[..., 1:]], -1),
        ),
        "rgb.bmp": (Image.fromarray(COLOURS[..., :3].copy()), COLOURS[..., :3]),
        "rgba.png": (Image.fromarray(COLOURS), COLOURS),
        "rgb.tif": (Image.fromarray(COLOURS[..., :3].copy()), COLOURS[..., :3]),
    }
    for name, (file, wanted) in files.items():
        file.save(tmp_path / name)
        picture = read(tmp_path / name)
        assert picture.test.images.dtype == np.uint8
        assert np.array_equal(picture.test.images[0], wanted), name
    Image.fromarray(grey).convert("RGB").save(tmp_path / "a.JPG")
    assert read(tmp_path / "a.JPG").test.images.shape == (1, 12, 20, 3)
    deep = grey.astype(np.uint16) * 256 + 7
    iio.imwrite(tmp_path / "deep.png", deep)
    assert (read(tmp_path / "deep.png").test.images[0] == deep[..., None]).all()


def test_alpha_that_hides_nothing_is_dropped(tmp_path: Path) -> None:
    opaque = COLOURS.copy()
    opaque[..., 3] = 255
    iio.imwrite(tmp_path / "a.png", opaque)
    assert read(tmp_path / "a.png").test.images.shape == (1, 12, 20, 3)


def test_it_is_reduced_by_area(tmp_path: Path) -> None:
    iio.imwrite(tmp_path / "a.png", COLOURS[..., :3])
    picture = read(tmp_path / "a.png", "data.max_size=10")
    wanted = COLOURS[..., :3].reshape(6, 2, 10, 2, 3).mean((1, 3))
    assert np.abs(picture.test.images[0] - wanted).max() <= 0.5
    assert (picture.test.cameras[0].w, picture.test.cameras[0].h) == (10, 6)
    assert np.allclose((picture.world_from_source @ [20, 12, 0, 1])[:2], picture.bounds[1, :2])


def test_profiles_and_rotations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = Image.fromarray(COLOURS[..., :3].copy())
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file.save(tmp_path / "profile.png", icc_profile=profile)
    assert (read(tmp_path / "profile.png").test.images[0] == COLOURS[..., :3]).all()
    line = capsys.readouterr().out
    assert "profile.png: its colour profile is ignored" in line and line.count("\n") == 1
    from PIL import ImageOps

    for tag in range(1, 9):
        exif = Image.Exif()
        exif[274] = tag
        file.save(tmp_path / "turned.png", exif=exif)
        with Image.open(tmp_path / "turned.png") as stored:
            wanted = np.asarray(ImageOps.exif_transpose(stored))
        assert np.array_equal(read(tmp_path / "turned.png").test.images[0], wanted), tag


@pytest.mark.parametrize("runs", [False, True])
def test_radiance_pictures(runs: bool, tmp_path: Path) -> None:
    rows = rng.integers(0, 256, (5, 9, 4), np.uint8)
    rows[..., 3] = 131  # 2^3 / 256 a unit of the mantissa
    rows[0, :, 0] = 77
    write_hdr(tmp_path / "a.hdr", rows, runs)
    wanted = (rows[..., :3] + 0.5) / 32
    assert np.allclose(read_rgbe(tmp_path / "a.hdr"), wanted)
    picture = read(tmp_path / "a.hdr")
    assert picture.test.images.dtype == np.float32 and np.allclose(picture.test.images[0], wanted)
    assert picture.peak == pytest.approx(wanted.max()) and picture.peak > 1
    whole = (tmp_path / "a.hdr").read_bytes()
    for end in (30, 60, len(whole) - 3):
        (tmp_path / "cut.hdr").write_bytes(whole[:end])
        assert "cannot be read as a picture" in told(tmp_path / "cut.hdr")


def test_exr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = (rng.random((6, 8, 3)) * 4).astype(np.float32)
    r, g, b = (values[..., k].copy() for k in range(3))
    write_exr(tmp_path / "a.exr", R=r, G=g, B=b)
    picture = read(tmp_path / "a.exr")
    assert np.array_equal(picture.test.images[0], values) and picture.peak == values.max()
    write_exr(tmp_path / "half.exr", Y=r.astype(np.float16))
    assert np.array_equal(
        read(tmp_path / "half.exr").test.images[0], np.stack([r.astype(np.float16)] * 3, -1)
    )
    reduced = read(tmp_path / "half.exr", "data.max_size=8").test.images
    assert reduced.shape == (1, 6, 8, 3)
    a = np.full((6, 8), 0.5, np.float32)
    write_exr(tmp_path / "alpha.exr", R=r * a, G=g * a, B=b * a, A=a)
    straight = read(tmp_path / "alpha.exr").test.images[0]
    assert np.allclose(straight[..., :3], values) and (straight[..., 3] == 0.5).all()
    write_exr(tmp_path / "below.exr", R=r, G=g, B=-b)
    assert not read(tmp_path / "below.exr").test.images[0, ..., 2].any()
    assert "48 pixels are below 0 and become 0" in capsys.readouterr().out
    write_exr(tmp_path / "nan.exr", R=r, G=np.full_like(g, np.nan), B=b)
    assert "48 pixels are infinite or no numbers" in told(tmp_path / "nan.exr")
    write_exr(tmp_path / "depth.exr", Z=r)
    assert "its channels are Z, expected R G B or Y" in told(tmp_path / "depth.exr")
    (tmp_path / "text.exr").write_text("hello")
    assert "cannot be read" in told(tmp_path / "text.exr")


def test_float_pictures_are_reduced_premultiplied(tmp_path: Path) -> None:
    a = np.array([[1, 0], [0, 0]], np.float32).repeat(8, 0).repeat(8, 1)
    write_exr(tmp_path / "a.exr", R=8 * a, G=0 * a, B=0 * a, A=a)
    picture = read(tmp_path / "a.exr", "data.max_size=8")
    assert np.allclose(picture.test.images[0, :4, :4], [8, 0, 0, 1]) and not picture.test.images[0, 4:].any()
    assert picture.peak == 8


def test_mistakes(tmp_path: Path) -> None:
    file = Image.fromarray(COLOURS[..., :3].copy())
    file.convert("CMYK").save(tmp_path / "print.jpg")
    assert "its colours are CMYK" in told(tmp_path / "print.jpg")
    file.save(tmp_path / "film.webp", save_all=True, append_images=[file.rotate(180)])
    assert "holds 2 frames" in told(tmp_path / "film.webp")
    file.save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:300])
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("cut.png", "empty.png"):
        assert "cannot be read as a picture" in told(tmp_path / name)
    assert "there is no" in told(tmp_path / "gone.png")
    (tmp_path / "folder").mkdir()
    told(tmp_path / "folder", "data.format=picture")
