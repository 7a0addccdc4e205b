"""The surface of a mesh as data: points whose distances can be told beforehand, and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from render.errors import InshaderError
from scenes import distance, load_dataset, load_scene, mesh, surface
from scenes.dataset import Surface

CENTRE, RADIUS = np.array([3.0, -1.0, 2.0]), 5.0  # of the ball, in units of the file
SAG = 0.003  # of 5120 flat triangles below the ball's radius, relative to it


@pytest.fixture(autouse=True)
def few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surface, "POINTS", 16000)


def ball(subdivisions: int = 4) -> trimesh.Trimesh:
    made = trimesh.creation.icosphere(subdivisions=subdivisions, radius=RADIUS)
    made.apply_translation(CENTRE)
    return made


def write(folder: Path, made: trimesh.Trimesh, name: str = "m.ply") -> Path:
    made.export(folder / name)
    return folder / name


def load(path: Path, *overrides: str) -> Surface:
    scene = load_scene("sdf", [f"data.path={path}", "data.test_views=3", "data.max_size=40", *overrides])
    found = load_dataset(scene)
    assert isinstance(found, Surface)
    return found


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_distances_from_a_ball(tmp_path: Path, up: str) -> None:
    made = ball()
    found = load(write(tmp_path, made), f"data.up={up}")
    centre = (found.world_from_source @ [*CENTRE, 1])[:3]
    scale = np.cbrt(np.linalg.det(found.world_from_source[:3, :3]))
    truth = np.linalg.norm(found.points - centre, axis=1) - RADIUS * scale
    assert np.abs(found.distances - truth).max() < SAG * RADIUS * scale
    assert np.allclose(centre, 0, atol=1e-6)
    assert np.linalg.norm(found.bounds, axis=1) == pytest.approx([1, 1], abs=1e-6)
    # 5 % of its diameter on each side
    assert found.bounds[1] == pytest.approx([1.1 * RADIUS * scale] * 3, abs=1e-5)
    assert (found.points >= found.bounds[0]).all() and (found.points <= found.bounds[1]).all()
    assert (found.points.dtype, found.distances.dtype) == (np.float32, np.float32)


def test_far_from_the_origin(tmp_path: Path) -> None:
    """As scans in the coordinates of a country: half a unit is float32's step at 5,000,000."""
    made, shift = ball(3), np.array([500_000.25, 5_000_000.125, 120.5])
    here = load(write(tmp_path, made))
    lines = [f"v {x!r} {y!r} {z!r}" for x, y, z in (made.vertices + shift).tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in made.faces + 1]
    (tmp_path / "far.obj").write_text("\n".join(lines))
    far = load(tmp_path / "far.obj")
    assert len(far.vertices) == len(made.vertices) and len(far.faces) == len(made.faces)
    centre = (far.world_from_source @ [*(CENTRE + shift), 1])[:3]
    scale = np.cbrt(np.linalg.det(far.world_from_source[:3, :3]))
    np.testing.assert_allclose(centre, 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(far.vertices, axis=1), RADIUS * scale, atol=1e-6)
    np.testing.assert_allclose(far.bounds, here.bounds, atol=1e-6)
    truth = np.linalg.norm(far.points, axis=1) - RADIUS * scale
    assert np.abs(far.distances - truth).max() < 4 * SAG * RADIUS * scale  # a quarter of the triangles


def test_shares_and_order(tmp_path: Path) -> None:
    found = load(write(tmp_path, ball(3)))
    on = found.distances == 0
    assert np.count_nonzero(on) == 6000
    near = ~on & (np.abs(found.distances) < 0.04)  # four of the larger deviations
    assert 0.5 < near.mean() < 0.6  # 1/2, and what of 1/8 falls there
    small = np.abs(found.distances[near]) < 0.005
    assert 0.55 < small.mean() < 0.75  # 95 % of one half, 38 % of the other, few of the rest
    halves = [on[:8000].mean(), on[8000:].mean()]
    assert abs(halves[0] - halves[1]) < 0.03
    turned = found.points[on] / np.linalg.norm(found.points[on], axis=1, keepdims=True)
    assert np.abs(turned.mean(0)).max() < 0.03  # evenly all around
    assert np.abs((turned**2).mean(0) - 1 / 3).max() < 0.02


def test_axes_turn_with_up(tmp_path: Path) -> None:
    made = trimesh.creation.box(extents=[1, 2, 3])
    found = load(write(tmp_path, made), "data.up=y")
    assert np.argsort(found.bounds[1]).tolist() == [1, 2, 0]  # x = the file's z, y = its x, z = its y
    corner = (found.world_from_source @ [0.5, 1, 1.5, 1])[:3]
    assert np.abs(found.vertices - corner).max(1).min() < 1e-6
    assert np.linalg.det(found.world_from_source[:3, :3]) > 0
    outward = distance.area_vectors(found.vertices, found.faces)
    middles = found.vertices[found.faces].mean(1)
    assert ((outward * middles).sum(1) > 0).all()


def test_pictures_are_shaded_from_the_eye(tmp_path: Path) -> None:
    found = load(write(tmp_path, ball()))
    assert found.test.images.shape == (3, 40, 40, 4) and found.test.images.dtype == np.uint8
    radius = float(np.linalg.norm(found.vertices, axis=1).max())
    for camera, image in zip(found.test.cameras, found.test.images, strict=True):
        rays_o, rays_d = camera.rays()
        b = (rays_o * rays_d).sum(-1)
        gap = b**2 - (rays_o**2).sum(-1) + radius**2
        well = gap > 0.2 * radius**2  # away from the rim, where a pixel's mean is near its middle
        n = (rays_o + (-b - np.sqrt(np.maximum(gap, 0)))[..., None] * rays_d) / radius
        light = surface.AMBIENT + (1 - surface.AMBIENT) * np.abs((n * rays_d).sum(-1, keepdims=True))
        wanted = 255 * light * surface.ALBEDO
        assert np.abs(image[..., :3] - wanted)[well].max() < 2
        assert (image[..., 3][well] == 255).all()
        assert (image[..., 3][gap < -0.05] == 0).all()
        assert ((image[..., 3] > 0) & (image[..., 3] < 255)).any()


def test_edges_of_a_box_are_sharp() -> None:
    made = trimesh.creation.box()
    vertices, faces = np.asarray(made.vertices, np.float32), np.asarray(made.faces, np.int64)
    normals = surface.corner_normals(vertices, faces)
    assert np.allclose(normals, made.face_normals[:, None], atol=1e-6)
    round_one = ball(3)
    vertices, faces = np.asarray(round_one.vertices, np.float32), np.asarray(round_one.faces, np.int64)
    outward = (vertices - CENTRE)[faces] / RADIUS
    assert (surface.corner_normals(vertices, faces) * outward).sum(-1).min() > 0.9999


def test_sides_of_a_ball_with_a_hole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = ball(3)
    made.update_faces(made.triangles_center[:, 2] < CENTRE[2] + 0.9 * RADIUS)
    found = load(write(tmp_path, made))
    assert "not closed: " in capsys.readouterr().out
    radius = np.linalg.norm(found.vertices, axis=1).max()
    middle = np.array([[0, 0, 0], [-0.5, 0, 0], [0, 0.5, 0]]) * radius
    sides = distance.signed_distances(found.vertices, found.faces, middle)
    assert (sides < 0).all()
    assert (found.distances < 0).mean() > 0.25


def test_sides_where_parts_overlap(tmp_path: Path) -> None:
    """Each part's surface runs on inside the other, where both of its sides are inside."""
    other = ball(3)
    other.apply_translation([0.8 * RADIUS, 0, 0])
    found = load(write(tmp_path, trimesh.util.concatenate([ball(3), other])), "data.up=z")
    middle = (found.world_from_source @ [*(CENTRE + np.array([0.4 * RADIUS, 0, 0])), 1])[:3]
    assert distance.signed_distances(found.vertices, found.faces, middle[None])[0] < -0.05
    scale = found.world_from_source[0, 0]
    reaches = []
    for dx in (0, 0.8 * RADIUS):
        centre = (found.world_from_source @ [*(CENTRE + np.array([dx, 0, 0])), 1])[:3]
        reaches.append(np.linalg.norm(found.points - centre, axis=1))
    truth = np.minimum(*reaches) < RADIUS * scale
    clear = np.abs(found.distances) > 0.01
    assert ((found.distances < 0) == truth)[clear].all()


def test_inside_out_and_flat_triangles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = ball(3)
    closed = load(write(tmp_path, made, "fine.ply"))
    assert capsys.readouterr().out == ""
    made.invert()
    flat = np.array([[0, 1, 1], [2, 2, 2]])
    damaged = trimesh.Trimesh(made.vertices, np.concatenate([made.faces, flat]), process=False)
    found = load(write(tmp_path, damaged, "damaged.ply"))
    told = capsys.readouterr().out
    assert "2 of 1282 triangles have no area and are left out" in told and "face inwards" in told
    assert "not closed" not in told and told.count("\n") == 2
    assert len(found.faces) == 1280
    assert (found.distances < 0).mean() == pytest.approx((closed.distances < 0).mean(), abs=0.02)
    assert (distance.area_vectors(found.vertices, found.faces) * found.vertices[found.faces[:, 0]]).sum() > 0


def test_seams_and_materials_are_one_surface(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two halves of a ball with vertices of their own, one with a texture that is missing."""
    made = ball(3)
    lines, count = ["mtllib none.mtl"], 0
    half = made.triangles_center[:, 0] > CENTRE[0]
    for index, part in enumerate((half, ~half)):
        lines += [f"usemtl m{index}"]
        for k, face in enumerate(made.faces[part]):
            lines += [f"v {x:.7f} {y:.7f} {z:.7f}" for x, y, z in made.vertices[face]]
            lines += [f"vt 0.{k % 10} 0"]
            lines += ["f " + " ".join(f"{3 * count + i}/{count + 1}" for i in (1, 2, 3))]
            count += 1
    (tmp_path / "m.obj").write_text("\n".join(lines))
    found = load(tmp_path / "m.obj")
    assert capsys.readouterr().out == ""  # closed
    assert len(found.vertices) == len(made.vertices)


def test_kept_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, ball(2))
    first = load(path)
    assert not np.array_equal(load(path, "seed=1").points, first.points)
    monkeypatch.setattr(surface, "sample_points", lambda *_: pytest.fail("sampled again"))
    again = load(path)
    for name in ("points", "distances", "vertices", "faces"):
        assert np.array_equal(getattr(again, name), getattr(first, name))
    assert np.array_equal(again.test.images, first.test.images)
    write(tmp_path, ball(3))
    with pytest.raises(pytest.fail.Exception):
        load(path)


def test_a_box_of_ones_own(tmp_path: Path) -> None:
    path = write(tmp_path, trimesh.creation.box())
    found = load(path, "data.bounds=[[-1, -2, -3], [1, 2, 3]]")
    assert np.allclose((found.world_from_source @ [1, 2, 3, 1])[:3], found.bounds[1], atol=1e-6)
    assert np.abs(found.points).max(0) == pytest.approx(found.bounds[1], rel=0.02)
    with pytest.raises(InshaderError, match=r"data\.bounds: .* reaches \[\[-0\.5, "):
        load(path, "data.bounds=[[-1, -2, -3], [1, 2, 0.4]]")


VERTICES = "v -1 -1 0\nv 1 -1 0\nv 1 1 0\nv -1 1 0\n"


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("empty.obj", "", "mesh"),
        ("points.obj", VERTICES, "mesh"),
        ("lines.obj", VERTICES + "l 1 2 3\n", "mesh"),
        ("nan.obj", VERTICES.replace("1 1 0", "nan 1 0") + "f 1 2 3\n", "finite"),
        ("index.obj", VERTICES + "f 1 2 9\n", "index.obj"),
        ("point.obj", "v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", "one point"),
        ("needle.obj", "v 0 0 0\nv 1 1 1\nv 2 2 2\nf 1 2 3\nf 1 2 2\n", "all 2 triangles have no area"),
        ("sheet.obj", VERTICES + "f 1 2 3\nf 1 3 4\n", "encloses nothing"),
        ("noise.glb", "not a mesh", "noise.glb"),
    ],
)
def test_mistakes(tmp_path: Path, name: str, text: str, part: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InshaderError) as caught:
        load(tmp_path / name)
    assert name in str(caught.value)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_distances_are_exact() -> None:
    """Against all triangles, one by one; and in the order in which the points were given."""
    made = ball(2)
    vertices, faces = np.asarray(made.vertices), np.asarray(made.faces, np.int64)
    points = np.random.default_rng(2).normal(0, 6, (40, 3)) + CENTRE
    found, face, closest = distance.nearest(vertices, faces, points)
    for x, d, f, c in zip(points, found, face, closest, strict=True):
        feet = trimesh.triangles.closest_point(made.triangles, np.broadcast_to(x, (len(faces), 3)))
        all_distances = np.linalg.norm(feet - x, axis=1)
        assert d == pytest.approx(all_distances.min(), rel=1e-9)
        assert all_distances[f] == pytest.approx(d, rel=1e-9)
        assert np.linalg.norm(c - x) == pytest.approx(d, rel=1e-9)
    inside = np.linalg.norm(points - CENTRE, axis=1) < 0.97 * RADIUS
    assert inside.any() and (distance.winding_numbers(vertices, faces, points)[inside] > 0.9).all()
    assert len(distance.signed_distances(vertices, faces, points[:0])) == 0


def test_textures_are_asked_for_only_where_they_matter(tmp_path: Path) -> None:
    (tmp_path / "m.mtl").write_text("newmtl m\nmap_Kd none.png\n")
    (tmp_path / "m.obj").write_text(
        "mtllib m.mtl\n" + VERTICES + "vt 0 0\nvt 1 0\nvt 1 1\nusemtl m\nf 1/1 2/2 3/3\n"
    )
    assert len(mesh.read_surfaces(tmp_path / "m.obj", textured=False)) == 1
    with pytest.raises(InshaderError, match=r"none\.png is missing"):
        mesh.read_surfaces(tmp_path / "m.obj")
