from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import trimesh

from render.errors import InshaderError
from scenes import PosedImages, load_dataset, load_scene, mesh

# A square of side 2 in the plane z = 0 of the file, its texture red on the left half and green on the right.
VERTICES = "v -1 -1 0\nv 1 -1 0\nv 1 1 0\nv -1 1 0\n"
TEXTURED = (
    "mtllib m.mtl\n" + VERTICES + "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nusemtl m\nf 1/1 2/2 3/3\nf 1/1 3/3 4/4\n"
)


@pytest.fixture
def square(tmp_path: Path) -> Path:
    (tmp_path / "square.obj").write_text(TEXTURED)
    (tmp_path / "m.mtl").write_text("newmtl m\nmap_Kd t.png\n")
    texture = np.zeros((8, 8, 3), np.uint8)
    texture[:, :4, 0] = texture[:, 4:, 1] = 200
    iio.imwrite(tmp_path / "t.png", texture)
    return tmp_path / "square.obj"


def load(path: Path, *overrides: str) -> PosedImages:
    small = ["data.train_views=6", "data.test_views=4", "data.max_size=48"]
    return load_dataset(load_scene("mesh", [f"data.path={path}", *small, *overrides]))


def seen_at(posed: PosedImages, point: list[float]) -> list[np.ndarray]:
    """What each view shows where a point of the file projects."""
    world = posed.world_from_source @ [*point, 1]
    colours = []
    for views in (posed.train, posed.test):
        for camera, image in zip(views.cameras, views.images, strict=True):
            x, y, z = (np.linalg.inv(camera.world_from_camera) @ world)[:3]
            u, v = camera.cx - camera.fl_x * x / z, camera.cy + camera.fl_y * y / z
            colours.append(image[int(v), int(u)].astype(int))
    return colours


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_texture_lands_where_it_belongs(square: Path, up: str) -> None:
    posed = load(square, f"data.up={up}")
    left, right = seen_at(posed, [-0.4, 0.1, 0]), seen_at(posed, [0.4, 0.1, 0])
    reds = sum(colour[0] > 60 and colour[1] < 20 for colour in left)
    greens = sum(colour[1] > 60 and colour[0] < 20 for colour in right)
    assert reds >= 8 and greens >= 8, (left, right)  # all but grazing views
    assert np.linalg.norm(posed.bounds[1]) == pytest.approx(1, abs=1e-6)
    alpha = posed.train.images[..., 3]
    assert ((alpha > 0) & (alpha < 255)).any()


def test_bounds_in_units_of_the_file(square: Path) -> None:
    posed = load(square, "data.bounds=[[-1, -2, -3], [1, 2, 3]]")  # y is up
    corner = np.array([1, 2, 3, 1.0])
    assert np.allclose((posed.world_from_source @ corner)[:3], posed.bounds[1])
    assert np.argsort(posed.bounds[1]).tolist() == [1, 2, 0]  # x = the file's z, y = its x, z = its y


def test_far_from_the_origin(tmp_path: Path) -> None:
    """As scans in the coordinates of a country: half a unit is float32's step at 5,000,000."""
    shift = np.array([500_000.25, 120.5, 5_000_000.125])  # y is up
    found = []
    for name, centre in (("here", np.zeros(3)), ("far", shift)):
        ball = trimesh.creation.icosphere(subdivisions=2)
        lines = [f"v {x!r} {y!r} {z!r}" for x, y, z in (ball.vertices + centre).tolist()]
        lines += [f"f {a} {b} {c}" for a, b, c in ball.faces + 1]
        (tmp_path / f"{name}.obj").write_text("\n".join(lines))
        found.append(load(tmp_path / f"{name}.obj"))
    here, far = found
    # What is left of 16 digits moves an edge by 1e-9, and a sample of a pixel here or there with it.
    assert np.abs(here.train.images.astype(int) - far.train.images).max() <= 16
    assert (here.train.images == far.train.images).mean() > 0.999
    for camera, other in zip(here.test.cameras, far.test.cameras, strict=True):
        np.testing.assert_allclose(camera.world_from_camera, other.world_from_camera, atol=1e-6)
    for point in ([0, 0, 0], [1, 0.5, -2]):
        place = here.world_from_source @ [*point, 1]
        np.testing.assert_allclose(far.world_from_source @ [*(point + shift), 1], place, atol=1e-6)
    low, high = shift - 2, shift + np.array([1, 1.5, 1])
    posed = load(tmp_path / "far.obj", f"data.bounds={[low.tolist(), high.tolist()]}")
    np.testing.assert_allclose((posed.world_from_source @ [*high, 1])[:3], posed.bounds[1], atol=1e-6)


def test_cached_by_content(square: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(square)
    monkeypatch.setattr(mesh, "render_views", lambda *_: pytest.fail("rendered again"))
    assert np.array_equal(load(square).test.images, first.test.images)
    monkeypatch.undo()
    monkeypatch.setenv("INSHADER_CACHE", str(own_cache))
    iio.imwrite(square.parent / "t.png", np.full((8, 8, 3), 90, np.uint8))
    assert not np.array_equal(load(square).test.images, first.test.images)


def test_vertex_colours_and_plain(tmp_path: Path) -> None:
    header = "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
    colours = "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
    faces = "element face 2\nproperty list uchar int vertex_indices\nend_header\n"
    points = ["-1 -1 0", "1 -1 0", "1 1 0", "-1 1 0"]
    body = "".join(f"{point} 10 20 200\n" for point in points) + "3 0 1 2\n3 0 2 3\n"
    (tmp_path / "blue.ply").write_text(header + colours + faces + body)
    shown = max(seen_at(load(tmp_path / "blue.ply"), [0.1, 0.2, 0]), key=lambda colour: colour[2])
    assert shown[2] > 90 and shown[0] < 15
    (tmp_path / "plain.obj").write_text(VERTICES + "f 1 2 3\nf 1 3 4\n")
    shown = max(seen_at(load(tmp_path / "plain.obj"), [0.1, 0.2, 0]), key=lambda colour: colour[2])
    assert shown[0] == shown[1] == shown[2] > 80


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("empty.obj", "", "mesh"),
        ("points.obj", VERTICES, "mesh"),
        ("lines.obj", VERTICES + "l 1 2 3\n", "mesh"),
        ("nan.obj", VERTICES.replace("1 1 0", "nan 1 0") + "f 1 2 3\n", "finite"),
        ("index.obj", VERTICES + "f 1 2 9\n", "index.obj"),
        ("flat.obj", "v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", "flat.obj"),
        ("noise.glb", "not a mesh", "noise.glb"),
        ("noise.ply", "ply\nformat ascii 1.0\nelement vertex 9999999999\nend_header\n", "noise.ply"),
        ("cut.gltf", '{"asset": {"version": "2.0"}, "meshes": [', "cut.gltf"),
    ],
)
def test_mistakes(tmp_path: Path, name: str, text: str, part: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InshaderError) as caught:
        load(tmp_path / name)
    assert name in str(caught.value)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_texture(square: Path) -> None:
    (square.parent / "t.png").unlink()
    with pytest.raises(InshaderError, match=r"square\.obj: its texture .*t\.png is missing"):
        load(square)
    (square.parent / "m.mtl").unlink()
    with pytest.raises(InshaderError, match=r"material library .*m\.mtl is missing"):
        load(square)
