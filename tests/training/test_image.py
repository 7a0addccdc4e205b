"""The task image of gaussian_rbf: what is baked is what was trained, and it learns a picture in seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import imageio.v3 as iio
import moderngl
import numpy as np
import pytest
import torch

from render import reference
from render.asset import asset_bytes, asset_from_bytes
from render.camera import look_at
from render.drivers.image import plane_points
from render.metrics import parity_db, psnr
from render.renderer import Renderer
from scenes import load_dataset, load_scene
from scenes.dataset import Picture, composite
from training.families.gaussian_rbf.image import Config, Image
from training.kernels import cpu
from training.score import score

DECODERS = get_args(Config.model_fields["decoder"].annotation)
SMALL: dict[str, Any] = {
    "levels": 4,
    "base_resolution": 6,
    "finest_resolution": 32,
    "neurons": 8,
    "pixels_per_step": 600,
    "precision": "float32",
}


def drawing(channels: int = 3) -> np.ndarray:
    """(40, 60, channels) uint8: a soft sky, stripes and a disc; alpha falls off to the right."""
    y, x = np.mgrid[:40, :60] / 40
    r = np.clip((0.3 - np.hypot(x - 0.6, y - 0.5)) * 12, 0, 1)
    rgb = np.stack([r + 0.2 * x, 0.5 + 0.4 * np.sin(9 * y), 1 - 0.6 * y - 0.3 * r], -1)
    alpha = np.clip(1.6 - 1.3 * x, 0, 1)[..., None]
    rgba = np.concatenate([rgb, alpha], -1)[..., :channels]
    return np.rint(np.clip(rgba, 0, 1) * 255).astype(np.uint8)


def picture(folder: Path, image: np.ndarray, *overrides: str) -> Picture:
    iio.imwrite(folder / "a.png", image)
    dataset = load_dataset(load_scene("image", [f"data.path={folder / 'a.png'}", *overrides]))
    assert isinstance(dataset, Picture)
    return dataset


def bright(dataset: Picture, by: float) -> Picture:
    """The same as a float picture, ``by`` times as bright."""
    image = composite(dataset.test.images, dataset.background) * np.float32(by)
    return replace(dataset, test=replace(dataset.test, images=image), peak=float(image.max()))


def trained(dataset: Picture, steps: int, **options: Any) -> Image:
    model = Image(Config(**{**SMALL, **options}), dataset, cpu, "cpu", 0)
    for step in range(steps):
        model.step(step / steps)
    return model


def test_a_grid_of_one_level(tmp_path: Path) -> None:
    """The coarsest, though the options name a finer one; drawn by numpy as it was trained."""
    dataset = picture(tmp_path, drawing())
    model = trained(dataset, 150, levels=1, features=4, base_resolution=20, finest_resolution=400)
    spec = model.field.decoder.grid.spec
    assert [level.resolution for level in spec.level_list] == [20]
    camera = dataset.test.cameras[0]
    drawn = model.draw(camera)[..., :3]
    learnt = psnr(drawn.clip(0, 1), composite(dataset.test.images[0], dataset.background))
    assert learnt is not None and learnt > 20
    baked = reference.draw(asset_from_bytes(asset_bytes(model.bake())), camera)["colour"]
    np.testing.assert_allclose(baked, drawn, atol=1e-5)


@pytest.mark.parametrize("kind", ["rgb", "rgba", "hdr"])
def test_it_learns_and_is_baked_as_it_is(kind: str, tmp_path: Path, ctx: moderngl.Context) -> None:
    dataset = picture(tmp_path, drawing(4 if kind == "rgba" else 3), "data.background=[0.9, 0.2, 0.5]")
    if kind == "hdr":
        dataset = bright(dataset, 7.0)
    model = trained(dataset, 400)
    asset = asset_from_bytes(asset_bytes(model.bake()))
    with Renderer(ctx, asset) as renderer:

        def draw(camera: Any) -> tuple[np.ndarray, np.ndarray]:
            images = renderer.draw(camera).images
            return images["colour"], images["coverage"]

        scores, comparison = score(model, draw, dataset)
    assert comparison.shape == (40, 240, 3) and 0 <= comparison.min() and comparison.max() <= 1
    results = scores.results()
    assert results["psnr"]["baked"] > 33  # after 400 steps of a second or two; 37 to 42 were seen
    assert results["parity_db"] > 50
    assert (results["psnr"]["foreground"] is None) == (kind != "rgba")
    camera = dataset.test.cameras[0]
    truth = composite(dataset.test.images[0], dataset.background) / dataset.peak
    by_hand = psnr(np.clip(model.draw(camera)[..., :3] / dataset.peak, 0, 1), truth)
    assert results["psnr"]["field"] == pytest.approx(by_hand, abs=1e-3)
    if kind == "rgba":
        alpha = dataset.test.images[0, ..., 3] / 255
        assert np.abs(model.draw(camera)[..., 3] - alpha).mean() < 0.02


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("decoder", DECODERS)
def test_baked_asset_is_the_field(
    decoder: str, precision: str, tmp_path: Path, ctx: moderngl.Context
) -> None:
    model = trained(picture(tmp_path, drawing(4)), 30, decoder=decoder, precision=precision)
    asset = asset_from_bytes(asset_bytes(model.bake()))
    assert asset.precision == precision
    floor = 50 if precision == "float32" else 42
    with Renderer(ctx, asset) as renderer:
        for camera in (asset.camera, look_at([0.5, -0.6, 0.9], [0.1, 0, 0], [0, 1, 0], 50, 40, 0.8)):
            field = model.draw(camera)
            for images in (renderer.draw(camera).images, reference.draw(asset, camera)):
                parity = parity_db(images["colour"], field[..., :3], images["coverage"], field[..., 3:])
                assert parity is not None and parity > floor
    assert asset.held_out[0].to_json() == asset.camera.to_json()


def test_every_pass_sees_the_whole_picture(tmp_path: Path) -> None:
    """Of 2,400 pixels in 7 batches all but the 6 left over, each once."""
    model = Image(Config(**{**SMALL, "pixels_per_step": 343}), picture(tmp_path, drawing()), cpu, "cpu", 0)
    assert model.batches == 7
    passes = []
    for _ in range(2):
        batches = []
        for _ in range(model.batches):
            batches.append(model.batch())
            assert len(batches[-1]) == 342
            model.steps_done += 1
        seen = torch.cat(batches)
        assert len(seen.unique()) == len(seen) and 0 <= seen.min() and seen.max() < 2400
        passes.append(seen)
    assert not torch.equal(*passes)
    whole = Image(Config(**{**SMALL, "pixels_per_step": 4000}), model.dataset, cpu, "cpu", 0)
    assert whole.batches == 1 and len(whole.batch().unique()) == 2400


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_pixels_are_where_the_camera_sees_them(kind: type, tmp_path: Path) -> None:
    dataset = picture(tmp_path, drawing(4))
    image = dataset.test.images.astype(kind)
    dataset = replace(dataset, test=replace(dataset.test, images=image), peak=2.0)
    model = Image(Config(**SMALL), dataset, cpu, "cpu", 0)
    uv, truth = model.at(torch.arange(2400))
    rays_o, rays_d = (rays.reshape(-1, 3) for rays in dataset.test.cameras[0].rays())
    wanted, t = plane_points(dataset.bounds, rays_o, rays_d)
    assert (t > 0).all() and np.abs(uv.numpy() - wanted).max() < 1e-6
    values = image[0].reshape(-1, 4) / (1.0 if kind is np.float32 else np.iinfo(kind).max)
    assert np.allclose(truth[:, :3], values[:, :3] * values[:, 3:] / 2, rtol=1e-5)
    assert np.allclose(truth[:, 3], values[:, 3])


def test_it_goes_on_bit_for_bit(tmp_path: Path) -> None:
    dataset = picture(tmp_path, drawing())
    one, other = trained(dataset, 6), Image(Config(**SMALL), dataset, cpu, "cpu", 1)
    other.load_state({name: value.clone() for name, value in one.state().items()})
    for model in (one, other):
        for _ in range(7):
            model.step(0.5)
    a, b = one.state(), other.state()
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_compiling_changes_nothing(tmp_path: Path) -> None:
    model = trained(picture(tmp_path, drawing()), 0)
    before = {name: value.clone() for name, value in model.state().items()}
    model.compile()
    after = model.state()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in after)


def test_parameters_are_counted(tmp_path: Path) -> None:
    model = trained(picture(tmp_path, drawing()), 0, precision="float16")
    found = model.metrics()
    # kernels: 8 of 8 coefficients and a bias; output: 3 of 8 + 4 values and a bias
    grid, networks = model.field.decoder.grid.spec.entries, 8 * (2 * 4 + 1) + 3 * (8 + 4 + 1)
    assert found["parameters"] == grid + networks
    assert found["bits_per_pixel"] == pytest.approx((16 * grid + 32 * networks) / 2400, rel=1e-6)


def test_default_parameters_are_few(tmp_path: Path) -> None:
    model = Image(Config(), picture(tmp_path, drawing()), cpu, "cpu", 0)
    assert model.metrics()["parameters"] <= 300_000
