"""render-export to a film, its cameras, and the meshes of a shell as files."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import moderngl
import numpy as np
import pytest
import trimesh

from render import export, film, mesh
from render.asset import BakedAsset, BakedMesh, read_asset, write_asset
from render.camera import Camera, look_at
from render.camera_path import CameraPath, orbit, read_camera, read_path
from render.errors import InshaderError
from render.metrics import psnr
from render.renderer import Renderer
from render.video import write_video

Build = Callable[..., BakedAsset]
WORLD_FROM_SOURCE = np.array([[0, 0, 3, 0.1], [3, 0, 0, -0.2], [0, 3, 0, 0.3], [0, 0, 0, 1.0]])


@pytest.fixture(autouse=True)
def own_context(ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite's context in place of a new one, which would take its place."""
    monkeypatch.setattr(film, "create_context", lambda: ctx)
    monkeypatch.setattr(moderngl.Context, "release", lambda self: None)


@pytest.fixture
def path(build_ball: Build, tmp_path: Path) -> Path:
    write_asset(tmp_path / "asset.safetensors", build_ball())
    return tmp_path


def frames_of(path: Path) -> np.ndarray:
    """(n, h, w, 3) display colours."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.average_rate == film.FPS
        assert stream.codec_context.colorspace == 1 and stream.codec_context.color_range == 1
        frames = [
            frame.reformat(format="rgb24", src_colorspace="ITU709") for frame in container.decode(stream)
        ]
        return np.stack([frame.to_ndarray() for frame in frames]) / 255


def test_what_is_written_is_seen(tmp_path: Path) -> None:
    """Smooth pictures of all hues come back in their order, with their colours."""
    i, j = np.meshgrid(np.linspace(0, 1, 64), np.linspace(0, 1, 48))
    pictures = [np.stack([i, j, np.full_like(i, k / 9)], -1) for k in range(10)]
    assert list(write_video(tmp_path / "a.mp4", pictures, (64, 48), film.FPS)) == [*range(1, 11)]
    found = frames_of(tmp_path / "a.mp4")
    assert found.shape == (10, 48, 64, 3)
    # colours at half the resolution in 220 steps make 40 dB, read by the other matrix (BT.601) 28 dB
    assert min(psnr(a, b) for a, b in zip(found, pictures, strict=True)) > 36


def test_once_around(path: Path) -> None:
    assert export.main([str(path), "--to", str(path / "a.mp4"), "--size", "48x40", "--frames", "8"]) == 0
    found = frames_of(path / "a.mp4")
    assert found.shape == (8, 40, 48, 3)
    assert [entry.name for entry in path.iterdir() if entry.suffix == ".mp4"] == ["a.mp4"]
    apart = [np.abs(found[0] - frame).mean() for frame in found]
    assert min(apart[1:]) > 0.01, "another view each"


def test_a_path_of_cameras(path: Path, build_ball: Build, ctx: moderngl.Context) -> None:
    """Frames are what the renderer draws from there, as many as the path has time for."""
    keys = [
        look_at([1.6 * np.cos(a), 1.6 * np.sin(a), 0.4], [0, 0, 0], [0, 0, 1], 51, 40, 0.7) for a in (0, 0.8)
    ]
    (path / "path.json").write_text(json.dumps([{**key.to_json(), "t": k / 6} for k, key in enumerate(keys)]))
    assert export.main([str(path), "--to", str(path / "a.mp4"), "--camera", str(path / "path.json")]) == 0
    found = frames_of(path / "a.mp4")
    assert found.shape == (6, 40, 50, 3)
    with Renderer(ctx, build_ball()) as renderer:
        for frame, key in ((0, keys[0]), (5, keys[1])):
            # a ball's silhouette in colours of half the resolution
            assert psnr(found[frame], renderer.draw(key, (50, 40)).images["colour"]) > 26


def test_between_keys() -> None:
    one = look_at([2, 0, 0], [0, 0, 0], [0, 0, 1], 40, 30, 0.7)
    other = replace(look_at([0, 2, 0], [0, 0, 0], [0, 0, 1], 40, 30, 0.7), fl_x=60.0)
    path = CameraPath(np.array([1.0, 3.0]), [one, other])
    for t, key in ((0.0, one), (1.0, one), (3.0, other), (9.0, other)):
        assert (
            np.allclose(path.at(t).world_from_camera, key.world_from_camera) and path.at(t).fl_x == key.fl_x
        )
    middle = path.at(2.0)
    axes = middle.world_from_camera[:3, :3]
    assert np.allclose(axes.T @ axes, np.eye(3)) and np.linalg.det(axes) == pytest.approx(1)
    assert np.allclose(middle.position, [1, 1, 0]) and np.allclose(middle.forward, -np.sqrt([0.5, 0.5, 0]))
    assert middle.fl_x == pytest.approx((one.fl_x + 60) / 2)
    assert [camera.position[1] for camera in path.spread(3)] == pytest.approx([0, 1, 2])


def ring(count: int) -> list[Camera]:
    """Cameras around a point, the first one once more at the end."""
    angles = np.linspace(0, 2 * np.pi, count + 1)
    return [look_at([2 * np.cos(a), 2 * np.sin(a), 0.5], [0, 0, 0], [0, 0, 1], 40, 30, 0.7) for a in angles]


def test_a_spline_passes_its_keys_and_is_rounder_than_lines() -> None:
    keys, times = ring(6), np.array([0, 1, 2, 3.5, 4, 5, 6])
    spline, lines = CameraPath(times, keys, tension=0.0), CameraPath(times, keys)
    for t, key in zip(times, keys, strict=True):
        np.testing.assert_allclose(spline.at(t).world_from_camera, key.world_from_camera, atol=1e-12)
    even = CameraPath(np.arange(7.0), keys, tension=0.0)

    def away(path: CameraPath) -> float:
        return max(abs(np.hypot(*path.at(t).position[:2]) - 2) for t in np.linspace(0, 6, 61))

    assert away(even) < 0.06 < 0.2 < away(lines), "chords cut 0.27 off the circle, the spline a fifth of that"
    for t in np.linspace(0, 6, 61):
        axes = even.at(t).world_from_camera[:3, :3]
        np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)
        aside = np.cross(even.at(t).forward, -even.at(t).position / np.linalg.norm(even.at(t).position))
        assert np.linalg.norm(aside) < 0.05, "and it goes on looking at the middle, whatever way it turned"


@pytest.mark.parametrize("tension", [0.0, 0.5, 1.0])
def test_a_path_that_comes_back_closes_smoothly(tension: float) -> None:
    path = CameraPath(np.arange(7.0), ring(6), tension)
    step = 1e-4
    leaving = (path.at(step).position - path.at(0).position) / step
    coming = (path.at(6.0).position - path.at(6 - step).position) / step
    np.testing.assert_allclose(leaving, coming, atol=0.02)
    assert np.linalg.norm(leaving) == pytest.approx(
        1.73 * (1 - tension), abs=0.02
    )  # half the chord of two keys


def test_a_path_is_read_as_it_was_written(tmp_path: Path) -> None:
    for tension in (None, 0.25):
        path = CameraPath(np.array([0.0, 0.5, 2.0]), ring(2), tension)
        (tmp_path / "path.json").write_text(json.dumps(path.to_json()))
        back = read_path(tmp_path / "path.json")
        assert back.tension == tension
        for t in (0.0, 0.3, 1.7, 2.0):
            np.testing.assert_allclose(back.at(t).world_from_camera, path.at(t).world_from_camera, atol=1e-12)
    assert read_camera(tmp_path / "path.json").w == 40


def test_an_orbit_keeps_height_and_distance() -> None:
    camera = look_at([1.2, -1.6, 0.9], [0, 0, 0], [0, 0, 1], 40, 30, 0.7)
    centre = np.array([0.1, 0.2, 0.3])
    around = orbit(camera, [0, 0, 2.0], centre, 4)
    assert np.allclose(around[0].world_from_camera, camera.world_from_camera)
    for number, one in enumerate(around):
        assert one.position[2] == pytest.approx(0.9) and one.forward[2] == pytest.approx(camera.forward[2])
        quarter = np.linalg.matrix_power(np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]), number)
        assert np.allclose(one.position - centre, quarter @ (camera.position - centre))


CAMERA = look_at([2, 0, 0], [0, 0, 0], [0, 0, 1], 40, 30, 0.7)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "empty list"),
        ([{**CAMERA.to_json()}], "t of camera 0 is None"),
        ([{**CAMERA.to_json(), "t": True}], "t of camera 0 is True"),
        ([{**CAMERA.to_json(), "t": float("nan")}], "t of camera 0 is nan"),
        ([{**CAMERA.to_json(), "t": t} for t in (-1.7e308, 0)], "t of camera 0 is -1.7e+308"),
        ([{**CAMERA.to_json(), "t": -(10**400)}], "t of camera 0 is -1000"),
        ([{**CAMERA.to_json(), "t": t} for t in (1, 1)], "camera 1 is 1, expected more than 1 seconds"),
        (
            [{**camera.to_json(), "t": t} for t, camera in enumerate((CAMERA, CAMERA.resized(20, 30)))],
            "camera 1 has 20x30 pixels, the first 40x30",
        ),
        ([{"t": 0}], "camera: the key"),
        ({"cameras": []}, "tension is None, expected a number from 0 to 1"),
        ({"cameras": {}, "tension": 0}, "cameras is a dict, expected a list"),
        ({"cameras": [], "tension": 0}, "empty list"),
        ([{**CAMERA.to_json(), "t": t} for t in (0, 1e5)], "at most 65536 are filmed"),
    ],
)
def test_paths_that_are_none(
    data: object, message: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path / "path.json").write_text(json.dumps(data))
    before = sorted(path.iterdir())
    assert export.main([str(path), "--to", str(path / "a.mp4"), "--camera", str(path / "path.json")]) == 2
    error = capsys.readouterr().err
    assert message in error and "path.json" in error and error.count("\n") == 1
    assert sorted(path.iterdir()) == before


def test_a_single_camera_stands_still(path: Path) -> None:
    (path / "camera.json").write_text(json.dumps(CAMERA.to_json()))
    keys = read_path(path / "camera.json")
    cameras = film.film_cameras(read_asset(path / "asset.safetensors"), path / "camera.json", None)
    assert len(cameras) == film.FPS * film.SECONDS and len(keys.times) == 1
    assert all(np.array_equal(one.world_from_camera, CAMERA.world_from_camera) for one in cameras)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "a.mp4", "--size", "31x20"], "both sides must be even, such as 32x20"),
        (["--to", "nowhere/a.mp4", "--size", "32x20"], "nowhere"),
        (["--to", "a.mp4", "--deform", "twist"], "march has no meshes to be moved"),
        (["--to", "a.png", "--deform", "twist"], "those of a film, use .mp4"),
        (["--to", "a.glsl", "--frames", "3"], "those of a film, use .mp4"),
        (["--to", "a.mp4", "--resolution", "32"], "--resolution is that of a mesh"),
        (["--to", "a.mp4", "--driver", "pathtrace"], "use .png"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str],
    message: str,
    path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(path)
    before = sorted(path.iterdir())
    assert export.main([str(path), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert sorted(path.iterdir()) == before


def test_a_film_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def pictures():
        yield np.zeros((20, 20, 3))
        raise InshaderError("the cage's cell is flat")

    (tmp_path / "a.mp4").write_bytes(b"before")
    with pytest.raises(InshaderError, match="flat"):
        list(write_video(tmp_path / "a.mp4", pictures(), (20, 20), film.FPS))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"before"


def test_a_film_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    steps = write_video(tmp_path / "a.mp4", [np.zeros((20, 20, 3))] * 9, (20, 20), film.FPS)
    assert next(steps) == 1 and len(list(tmp_path.iterdir())) == 1
    steps.close()
    assert not list(tmp_path.iterdir())


# The meshes of a shell ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mirror", [1, -1])
def test_the_envelope_as_files(build_shell: Build, mirror: int) -> None:
    frame = WORLD_FROM_SOURCE @ np.diag([mirror, 1, 1, 1])
    asset = replace(build_shell(), world_from_source=frame)
    back = np.linalg.inv(frame)
    made = trimesh.load(io.BytesIO(mesh.mesh_file(asset, ".ply")), file_type="ply", process=False)
    outer = asset.meshes["outer"]
    assert np.allclose(made.vertices, outer.vertices @ back[:3, :3].T + back[:3, 3], atol=1e-5)
    assert made.volume == pytest.approx(trimesh.Trimesh(outer.vertices, outer.faces).volume / 27)
    assert (np.asarray(made.vertex_normals) * trimesh.Trimesh(made.vertices, made.faces).vertex_normals).sum(
        1
    ).min() > 0.9
    scene = trimesh.load(io.BytesIO(mesh.mesh_file(asset, ".glb")), file_type="glb", process=False)
    assert set(scene.geometry) == {"outer", "inner"}
    for name, part in scene.geometry.items():
        assert len(part.faces) == len(asset.meshes[name].faces)
        assert part.volume == pytest.approx(
            trimesh.Trimesh(asset.meshes[name].vertices, asset.meshes[name].faces).volume / 27, rel=1e-4
        )
        assert "NORMAL" in part.vertex_attributes or "vertex_normals" in part._cache
    none = BakedMesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint32))
    alone = replace(asset, meshes={**asset.meshes, "inner": none})
    scene = trimesh.load(io.BytesIO(mesh.mesh_file(alone, ".glb")), file_type="glb", process=False)
    assert set(scene.geometry) == {"outer"}
    with pytest.raises(InshaderError, match="shell draws meshes in several passes"):
        export.glsl_text(asset, asset.camera)
    with pytest.raises(InshaderError, match="--resolution: the meshes of a shell are as they are"):
        mesh.mesh_file(asset, ".ply", 64)
