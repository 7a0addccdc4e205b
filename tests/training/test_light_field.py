"""Light fields: the trained network is the baked one, training goes where it should, and what is refused."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import moderngl
import numpy as np
import pytest
import torch
from torch.nn import functional

from render.asset import BakedAsset, asset_bytes, asset_from_bytes, write_asset
from render.camera import Camera
from render.errors import InshaderError
from render.light_field import LightField as BakedLightField
from render.light_field_gather import trunk_inputs
from render.metrics import parity_db, psnr
from render.renderer import Renderer
from scenes import PosedImages
from scenes.dataset import Views, composite
from training.families import seeded
from training.families.light_field import pseudo_views
from training.families.light_field.distil import LightField
from training.families.light_field.network import Affine, LightFieldNetwork, Step
from training.families.light_field.options import PRESETS, Config, build_network
from training.families.light_field.pseudo_views import PseudoViews
from training.families.light_field.speed import untrained
from training.families.light_field.teacher import asset_teacher
from training.kernels import select
from training.score import asset_drawer
from training.space import Space

SMALL: dict[str, Any] = {
    "width": 16,
    "blocks": 1,
    "levels": 4,
    "finest_resolution": 32,
    "log2_table_size": 12,
    "steps": 64,
    "occupancy_resolution": 32,
    "upscale": 4,
    "pseudo_views": 30,
    "crop": 0,
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INSHADER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def shared_context(ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Who draws for a while leaves no context behind, but other tests go on with theirs."""
    monkeypatch.setattr(ctx, "release", lambda: None)
    monkeypatch.setattr("training.score.create_context", lambda: ctx)
    yield
    ctx.__enter__()  # makes it current again


def network(preset: str, **options: Any) -> LightFieldNetwork:
    box = torch.tensor([[-1.0] * 3, [1.0] * 3])
    space = Space(box, 2.0, np.random.default_rng(0).random((6, 6, 6)) < 0.5)
    return build_network(Config(**{**PRESETS[preset], **options}), space, select("cpu"), seeded(0))


def model(ball: PosedImages, **options: Any) -> LightField:
    return LightField(Config(**{**SMALL, **options}), ball, select("cpu"), "cpu", 0)


@pytest.fixture(scope="module")
def teacher(ball: PosedImages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A radiance field of the ball."""
    from training.families.gaussian_rbf import radiance

    options = {"levels": 4, "log2_table_size": 12, "samples_per_step": 1 << 13}
    field = radiance.Radiance(radiance.Config(**options), ball, select("cpu"), "cpu", 0)
    for step in range(250):
        field.step(step / 250)
    path = tmp_path_factory.mktemp("teacher") / "asset.safetensors"
    write_asset(path, field.bake())
    return path


# The network ------------------------------------------------------------------------------------------------


def test_the_papers_network_has_the_papers_size() -> None:
    """4,274,691 folded parameters; 101.27 GFLOP at 800x800, and 53.29 at 1008x756 with 12 times the rays."""
    for upscale, rays, parameters, gflop in (
        (8, (100, 100), 4_274_691, 101.27),
        (12, (63, 84), 4_267_523, 53.29),
    ):
        baked = BakedLightField.of(network("mobile_r2l", upscale=upscale).baked("float16"))
        assert baked.trunk.spec.widths[0] == 312 and baked.factor == upscale
        assert baked.parameters() == parameters
        assert 2e-9 * baked.multiply_adds(*rays) == pytest.approx(gflop, abs=0.006)


@pytest.mark.parametrize(
    ("preset", "size", "parameters", "gflop"),
    [("E", 400, 582e3, 12.6), ("G", 400, 126e3, 1.02), ("J", 256, 56e3, 0.24), ("K", 256, 16e3, 0.070)],
)
def test_sizes_of_the_smaller_networks(preset: str, size: int, parameters: float, gflop: float) -> None:
    baked = BakedLightField.of(network(preset).baked("float16"))
    assert baked.parameters() == pytest.approx(parameters, rel=0.02)
    assert 2e-9 * baked.multiply_adds(*[size // baked.factor] * 2) == pytest.approx(gflop, rel=0.03)


@pytest.mark.parametrize("preset", ["default", "J", "K", "paper"])
def test_baked_is_trained(preset: str) -> None:
    """The torch network and the numpy evaluation of what is baked, batch normalisation folded, in float32."""
    small = {"width": 24, "blocks": 2, "channels": (12, 12, 8), "crop": 0, "points": 8}
    trained = network("mobile_r2l", **small) if preset == "paper" else network(preset)
    width = 24 if trained.gather is None else 7
    taken = torch.rand(2, 6, 5, width, generator=seeded(1)) * 2 - 1
    with torch.no_grad():
        for _ in range(5):
            trained.train()(taken)  # running means that are not those of the start
        wanted = trained.eval()(taken).numpy()
    parts = trained.baked("float32")
    rays = taken.numpy()
    if trained.gather is not None:
        with torch.no_grad():
            rays = trained.gather(taken).numpy()
    got = np.stack([BakedLightField.of(parts).evaluate(one) for one in rays])
    assert wanted.std() > 0.01
    assert np.abs(got - wanted).max() < 1e-5


@pytest.mark.parametrize(
    ("side", "name"), [(64, "mobile_r2l"), pytest.param(800, "mobile_r2l", marks=pytest.mark.slow)]
)
def test_the_papers_network_is_drawn(side: int, name: str, ctx: moderngl.Context) -> None:
    """Sixty layers of 256 units in float32 sums: 60 dB are asked for, rounding leaves more."""
    asset = untrained(name, side, side)
    with Renderer(ctx, asset) as renderer:
        drawn = renderer.draw(asset.camera).images["colour"]
    field = BakedLightField.of(asset.networks)
    near = psnr(drawn, field.evaluate(trunk_inputs(asset, asset.camera, field.factor)))
    assert near is None or near > 60


@pytest.mark.parametrize(("factor", "overlaps"), [(2, True), (2, False), (3, True)])
def test_phases_are_a_transposed_convolution(factor: int, overlaps: bool) -> None:
    """Also at the border, where the map is surrounded by zeros."""
    trained = network("J", upscale=factor, channels=(7,), overlaps=overlaps)
    step = trained.steps[0]
    assert isinstance(step, Step)
    baked = BakedLightField.of(trained.baked("float32")).steps[0]
    assert (baked.factor, baked.taps) == (factor, 2 if overlaps and factor == 2 else 1)
    from render.light_field import upsample

    x = np.random.default_rng(0).normal(size=(5, 4, 48)).astype(np.float32)
    wanted = functional.conv_transpose2d(
        torch.from_numpy(x).permute(2, 0, 1)[None],
        step.weight,
        step.bias,
        stride=factor,
        padding=1 if baked.taps == 2 else 0,
    )
    got = upsample(baked, x)
    assert np.abs(got - wanted[0].permute(1, 2, 0).detach().numpy()).max() < 1e-5


def test_folding() -> None:
    layer = Affine(9, 6, True, 1.0, seeded(0))
    with torch.no_grad():
        for _ in range(30):
            layer(3 + 2 * torch.randn(64, 9, generator=seeded(2)))
        assert layer.norm is not None
        layer.norm.weight.uniform_(0.5, 2, generator=seeded(3))
        layer.norm.bias.uniform_(-1, 1, generator=seeded(4))
        x = torch.randn(20, 9, generator=seeded(5))
        assert torch.allclose(layer.eval()(x), functional.linear(x, *layer.folded()), atol=1e-5)


# Training ---------------------------------------------------------------------------------------------------


def test_from_the_teacher_to_the_shader(ball: PosedImages) -> None:
    """All three stages; the shader draws what was trained; the student is a picture of the ball."""
    student = model(ball, upscale=2, channels=(12,), views_per_step=2)
    student.compile()
    assert [stage.name for stage in student.stages] == ["teacher", "distil", "finetune"]
    assert sum(stage.share for stage in student.stages) == pytest.approx(1)
    for stage, steps in zip(student.stages, (150, 250, 20), strict=True):
        for step in range(steps):
            stage.step(step / steps)
    truth = composite(ball.test.images, ball.background)
    drawn = np.stack([student.draw(camera)[..., :3] for camera in ball.test.cameras])
    learnt, blank = psnr(drawn, truth), psnr(np.ones_like(truth), truth)
    assert learnt is not None and blank is not None
    assert learnt > blank + 3  # a floor for so few steps
    asset = asset_from_bytes(asset_bytes(student.bake()))
    with asset_drawer(asset) as (draw, _):
        for camera in ball.test.cameras:
            trained = student.draw(camera)
            picture, coverage = draw(camera)
            assert (coverage == 1).all()
            parity = parity_db(picture, trained[..., :3], coverage, trained[..., 3:])
            assert parity is not None and parity > 45  # float16 storage
    assert set(student.earlier) == {"teacher"}
    assert student.metrics()["pseudo_views"] == 30


def test_without_a_teacher(ball: PosedImages) -> None:
    student = model(ball, teacher="none")
    assert [(stage.name, stage.share) for stage in student.stages] == [("real", 1.0)]
    before = student.preview()
    assert before is None
    student.stages[0].step(0.0)
    assert student.preview() is not None and student.metrics()["pseudo_views"] == 0


def test_gathering_is_the_same_in_numpy(ball: PosedImages, teacher: Path) -> None:
    student = model(ball, teacher=str(teacher), precision="float32")
    camera = ball.test.cameras[0]
    gather = student.students[""].gather
    assert gather is not None
    with torch.no_grad():
        gather.bias.fill_(1.0)  # rays end early: an optical thickness of 1.7 a step
        asset = student.bake()
        found = gather(torch.from_numpy(student.rays(camera))).numpy()
    opacity = found[..., -4]
    assert opacity.min() < 0.1 and opacity.max() > 0.999
    assert np.abs(trunk_inputs(asset, camera, 4) - found).max() < 1e-5


def test_samples_are_where_the_teacher_has_something(ball: PosedImages, teacher: Path) -> None:
    """Where it was trained before, and where it is trained first."""
    from render.asset import read_asset

    cells = read_asset(teacher).volumes["occupancy"]
    gather = model(ball, teacher=str(teacher)).students[""].gather
    assert gather is not None and np.array_equal(gather.cells, cells)
    options = {"levels": 4, "log2_table_size": 12, "samples_per_step": 1 << 11, "occupancy_resolution": 24}
    student = model(ball, teacher="gaussian_rbf", teacher_options=options, pseudo_views=2)
    assert student.field is not None
    for step in range(250):
        student.step_teacher(step / 250)
    student.step(0.0)
    assert np.array_equal(student.bake().volumes["occupancy"], student.field.occupancy.cells)
    assert student.field.occupancy.cells.mean() < 0.7 * student.field.space.cells.mean()


def test_resume_goes_on_bit_for_bit(ball: PosedImages, teacher: Path) -> None:
    def run(student: LightField, first: int, last: int) -> LightField:
        for step in range(first, last):
            student.step(step / 12)
        student.step_real(0.5)
        return student

    options = {"teacher": str(teacher), "jitter": True, "crop": 3}
    whole = run(run(model(ball, **options), 0, 6), 6, 12)
    part = run(model(ball, **options), 0, 6)
    again = model(ball, **options)
    again.load_state(part.state())
    run(again, 6, 12)
    for name, value in whole.state().items():
        assert torch.equal(value, again.state()[name]), name
    late = model(ball, **options)  # where no more are drawn
    late.load_state(whole.state())
    late.step_real(0.9)
    assert late.metrics()["pseudo_views"] == whole.metrics()["pseudo_views"] == 30
    assert torch.equal(late.state()["counters"], whole.state()["counters"])


def test_preview_learns_beside(ball: PosedImages, teacher: Path) -> None:
    options = {"levels": 0, "points": 8, "octaves": 2, "upscale": 8, "channels": (8, 8, 8), "preview": "K"}
    student = model(ball, teacher=str(teacher), **options)
    before = student.students["preview_"].head.weight.clone()
    student.step(0.0)
    assert not torch.equal(before, student.students["preview_"].head.weight)
    assert "preview_trunk" in student.bake().networks


def test_windows_are_parts_of_views(ball: PosedImages, teacher: Path) -> None:
    """Rays and colours of a window are those of the whole view there; its margin counts at borders only."""
    student = model(ball, teacher=str(teacher), crop=4)
    camera, picture = ball.train.cameras[0], ball.train.images[0]
    whole = student.rays(camera)[..., :6]
    rays, truth, known = student.batch([camera], [picture])
    assert rays.shape[1:3] == (6, 6)
    at = np.argwhere(np.isclose(whole, rays[0, 0, 0, :6].numpy(), atol=1e-6).all(-1))
    assert len(at) == 1
    top, left = at[0]
    assert np.allclose(rays[0, ..., :6], whole[top : top + 6, left : left + 6], atol=1e-5)
    assert np.ptp(rays[..., 6].numpy()) > 0.5, "samples are moved at random"
    inner = known[0, :, :, 0].numpy()
    assert inner[4:-4, 4:-4].all() and inner[0].any() == (top == 0) and inner[:, 0].any() == (left == 0)
    assert truth.shape[1:3] == (24, 24)


# Pseudo views -----------------------------------------------------------------------------------------------


class Drawer:
    """A teacher that counts, and may fail."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.drawn, self.fail_at = 0, fail_at

    def __call__(self) -> Drawer:
        return self

    def __enter__(self) -> Any:
        def draw(camera: Camera) -> np.ndarray:
            if self.drawn == self.fail_at:
                raise KeyboardInterrupt
            self.drawn += 1
            return np.full((camera.h, camera.w, 3), camera.cx / 100, np.float32)

        return draw

    def __exit__(self, *_: object) -> None:
        pass


def cameras(ball: PosedImages, count: int) -> tuple[Camera, ...]:
    return tuple(replace(ball.train.cameras[0], cx=float(k)) for k in range(count))


def test_views_that_are_there_are_not_drawn_again(ball: PosedImages) -> None:
    seen, first = cameras(ball, 9), Drawer(fail_at=5)
    with pytest.raises(KeyboardInterrupt):
        PseudoViews(seen, first, b"a").fill(range(9))
    second = Drawer()
    views = PseudoViews(seen, second, b"a")
    views.fill(range(9))
    views.fill(range(9))
    assert (first.drawn, second.drawn) == (5, 4) and views.done.all()
    assert (views.pictures[:, 0, 0, 0] == np.round(np.arange(9) * 2.55)).all()
    other = Drawer()
    PseudoViews(seen, other, b"b").fill(range(2))
    assert other.drawn == 2, "of another teacher"


def test_old_views_make_room(ball: PosedImages, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pseudo_views, "KEPT_BYTES", 3 * 2 * 32 * 32 * 3)
    for number in range(5):
        PseudoViews(cameras(ball, 2), Drawer(), bytes([number]))
    assert len(list(own_cache.rglob("*.rgb"))) == len(list(own_cache.rglob("*.done"))) == 3


@pytest.mark.parametrize("left", [0, 1000])
def test_views_without_pictures_are_drawn_again(left: int, ball: PosedImages, own_cache: Path) -> None:
    """Who frees room in the cache may remove, or cut, the large file and leave the flags beside it."""
    PseudoViews(cameras(ball, 3), Drawer(), b"a").fill(range(3))
    (path,) = own_cache.rglob("*.rgb")
    if left:
        os.truncate(path, left)
    else:
        path.unlink()
    assert path.with_suffix(".done").exists()
    again = Drawer()
    views = PseudoViews(cameras(ball, 3), again, b"a")
    views.fill(range(3))
    assert again.drawn == 3 and (views.pictures[:, 0, 0, 0] == np.round(np.arange(3) * 2.55)).all()


def test_flags_go_before_pictures(
    ball: PosedImages, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever makes room and ends in between leaves pictures that nobody trusts."""
    monkeypatch.setattr(pseudo_views, "KEPT_BYTES", 0)
    old = PseudoViews(cameras(ball, 2), Drawer(), b"a").path
    unlink = Path.unlink

    def ends(path: Path, missing_ok: bool = False) -> None:
        if path == old:
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", ends)
    os.utime(old, (0, 0))
    with pytest.raises(KeyboardInterrupt):
        PseudoViews(cameras(ball, 2), Drawer(), b"b")
    assert old.exists() and not old.with_suffix(".done").exists()


def test_a_resumed_run_draws_what_is_gone(ball: PosedImages, teacher: Path, own_cache: Path) -> None:
    student = model(ball, teacher=str(teacher))
    student.step(0.0)
    again = model(ball, teacher=str(teacher))
    again.load_state(student.state())
    for path in own_cache.rglob("*.*"):
        path.unlink()
    again.step(0.1)
    assert again.views is not None and again.views.done.all()


def test_a_cache_that_is_a_file(ball: PosedImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("INSHADER_CACHE", str(tmp_path / "file"))
    with pytest.raises(InshaderError, match="name another folder by INSHADER_CACHE"):
        PseudoViews(cameras(ball, 2), Drawer(), b"a")


def test_a_full_disk(ball: PosedImages, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(InshaderError, match="MB are needed and not free; make room") as caught:
            PseudoViews(cameras(ball, 3), Drawer(), b"a")
    assert "\n" not in str(caught.value) and not list(own_cache.rglob("*.rgb"))
    PseudoViews(cameras(ball, 3), Drawer(), b"a").fill(range(3))  # once there is room


# What is refused --------------------------------------------------------------------------------------------


def refused(ball: PosedImages, **options: Any) -> str:
    with pytest.raises(InshaderError) as caught:
        model(ball, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_sizes_that_upscaling_does_not_divide(ball: PosedImages) -> None:
    told = refused(ball, upscale=12, channels=(8, 8, 8))
    assert "12 does not divide pictures of 32x32" in told and "36x36" in told and "2 or 4 or 8 or 16" in told
    assert "takes 3 steps" in refused(ball, upscale=8, channels=(8, 8))


def test_a_teacher_of_another_scene(ball: PosedImages, teacher: Path, tmp_path: Path) -> None:
    other = replace(ball, bounds=ball.bounds * np.float32([[1.1, 1, 1]]))
    assert "is of another scene" in refused(other, teacher=str(teacher))
    assert "no such asset" in refused(ball, teacher="nowhere")
    assert "the data is not that subject" in refused(ball, teacher="still_life")
    student = model(ball, teacher=str(teacher))
    baked: BakedAsset = student.bake()
    write_asset(tmp_path / "student.safetensors", baked)
    assert "drawn by lightfield" in refused(ball, teacher=str(tmp_path / "student.safetensors"))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(teacher.read_bytes()[:-100])
    assert "truncated" in refused(ball, teacher=str(broken))


def test_views_that_differ(ball: PosedImages) -> None:
    cameras = list(ball.train.cameras)
    cameras[3] = replace(cameras[3], fl_x=cameras[3].fl_x * 1.1)
    told = refused(replace(ball, train=replace(ball.train, cameras=tuple(cameras))))
    assert "view 3 has another lens" in told
    one = Views(ball.train.images[:1], ball.train.cameras[:1], ball.train.names[:1])
    assert "expected at least 2" in refused(replace(ball, train=one))


def test_cameras_that_look_outwards(ball: PosedImages) -> None:
    turn = np.diag([-1.0, 1.0, -1.0, 1.0])
    outwards = tuple(
        replace(camera, world_from_camera=camera.world_from_camera @ turn) for camera in ball.train.cameras
    )
    told = refused(replace(ball, train=replace(ball.train, cameras=outwards)))
    assert "expected cameras around one place" in told


def test_shares_that_leave_nothing() -> None:
    with pytest.raises(ValueError, match=r"teacher_share=0.9 and finetune_share=0.5 leave nothing to distil"):
        Config(teacher_share=0.9, finetune_share=0.5)


def test_options_of_the_teacher(ball: PosedImages) -> None:
    student = model(ball, teacher_options={"levels": 3})
    assert student.field is not None and student.field.config.levels == 3
    told = refused(ball, teacher_options={"levls": 3})
    assert told.startswith("unknown key light_field.teacher_options.levls; is ")
    told = refused(ball, teacher_options={"levels": 99})
    assert told.startswith("light_field.teacher_options.levels: ") and "99" in told
    told = refused(ball, teacher_options={"finest_resolution": 8})
    assert told.startswith("light_field.teacher_options.base_resolution=16 is above finest_resolution=8")


def test_previews_that_cannot_be(ball: PosedImages) -> None:
    assert "not one of" in refused(ball, levels=0, octaves=2, preview="Z")
    assert "set light_field.levels=0" in refused(ball, preview="K")
    options = {"levels": 0, "octaves": 2, "upscale": 16, "channels": (8, 8, 8, 8)}
    assert "preview=K has channels for 3 steps" in refused(ball, preview="K", **options)


def test_a_teacher_is_told_from_others(teacher: Path) -> None:
    from render.asset import read_asset

    asset = read_asset(teacher)
    _, one = asset_teacher(asset)
    _, same = asset_teacher(asset_from_bytes(asset_bytes(asset)))
    _, other = asset_teacher(replace(asset, constants={**asset.constants, "stop": 0.5}))
    assert one == same != other
