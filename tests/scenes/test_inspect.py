from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from render.camera import Camera, look_at
from scenes import PosedImages, Views, load_dataset, load_scene
from scenes import inspect as inspection
from scenes.dataset import Dataset, Surface, coverage
from scenes.inspect import PANEL, Inspection, inspect
from tests.scenes.conftest import sphere_picture
from training.cli import main

ROOT = Path(__file__).parents[2]
SCENE = "nerf_synthetic"


def of(folder: Path, *overrides: str) -> Inspection:
    return inspect(load_scene(SCENE, [f"data.path={folder}", *overrides]))


def of_dataset(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> Inspection:
    monkeypatch.setattr(inspection, "load_dataset", lambda scene: dataset)
    return inspect(load_scene("quickstart"))


def camera(position: tuple[float, float, float], up: tuple[float, float, float] = (0, 0, 1)) -> Camera:
    return look_at(position, (0, 0, 0), up, 8, 8, 0.6)


def views(*cameras: Camera, channels: int = 4) -> Views:
    images = np.full((len(cameras), 8, 8, channels), 255, np.uint8)
    return Views(images, cameras, tuple(f"v{i}" for i in range(len(cameras))))


@pytest.fixture
def cross() -> PosedImages:
    """Four cameras on the x and y axes, 3 from the middle, and a held-out one above it."""
    side = 1 / np.sqrt(3)
    return PosedImages(
        train=views(camera((3, 0, 0)), camera((-3, 0, 0)), camera((0, 3, 0)), camera((0, -3, 0))),
        test=views(camera((0, 0, 2.5), (0, 1, 0))),
        bounds=np.array([[-side] * 3, [side] * 3], np.float32),
        background=np.zeros(3, np.float32),
        background_name="black",
        up=np.array([0, 0, 1], np.float32),
        world_from_source=np.diag([0.5, 0.5, 0.5, 1.0]),
    )


# What is said ---------------------------------------------------------------------------------------------


def test_posed_pictures(blender_folder: Path) -> None:
    found = of(blender_folder, "data.format=auto")
    rows = dict(found.rows)
    assert rows["data"] == str(blender_folder)
    assert rows["reader"] == "blender, because the folder holds transforms_train.json"
    assert rows["pictures"] == "6 to train on, 2 held out (r_0, r_1)"
    assert rows["resolution"] == "32x32, RGB and alpha, uint8"
    posed = load_dataset(load_scene(SCENE, [f"data.path={blender_folder}"]))
    assert isinstance(posed, PosedImages)
    covered = coverage(np.concatenate([posed.train.images, posed.test.images]))
    assert covered is not None
    assert rows["alpha"].startswith(f"covers {100 * covered.mean():.1f} % of the pixels")
    assert rows["focal length"] == "x 43.832, y 43.832 pixels"
    assert rows["up"] == "(0, 0, 1) in source axes"
    assert rows["background"] == "white (1, 1, 1)"
    assert rows["box by silhouettes"].startswith("data.bounds=[[-")
    assert not found.warnings
    # The suggestion is an override that works.
    again = dict(of(blender_folder, rows["box by silhouettes"]).rows)
    corners = rows["box by silhouettes"].removeprefix("data.bounds=").replace("[", "(").replace("]", ")")
    assert again["scene box"] == corners[1:-1].replace("), (", ") to (") + " in source units"


def test_forced_reader_and_box(blender_folder: Path) -> None:
    rows = dict(of(blender_folder, "data.bounds=[[-1, -1, -1], [1, 1, 1]]").rows)
    assert rows["reader"] == "blender, because data.format=blender"
    assert rows["scene box"] == "(-1, -1, -1) to (1, 1, 1) in source units"
    # The cameras stand 4 * |(1, 0, 0.5)| from its middle.
    assert rows["mean distance"] == "4.472 source units, 2.582 world units"


def test_without_alpha(blender_folder: Path) -> None:
    for file in blender_folder.rglob("*.png"):
        iio.imwrite(file, iio.imread(file)[..., :3])
    found = of(blender_folder)
    rows = dict(found.rows)
    assert rows["resolution"] == "32x32, RGB, uint8"
    assert rows["alpha"].startswith("none")
    assert "box by silhouettes" not in rows
    assert not found.warnings


def as_dtu(cameras: list[Camera], pictures: list[np.ndarray], folder: Path) -> None:
    """Without mask/; the unit sphere is half as wide as what the cameras see."""
    (folder / "image").mkdir(parents=True)
    matrices = {}
    for i, (found, picture) in enumerate(zip(cameras, pictures, strict=True)):
        iio.imwrite(folder / "image" / f"{i:03d}.png", picture)
        k = np.array([[found.fl_x, 0, found.cx - 0.5], [0, found.fl_y, found.cy - 0.5], [0, 0, 1]])
        pose = found.world_from_camera @ np.diag([1, -1, -1, 1])
        matrices[f"world_mat_{i}"] = np.eye(4)
        matrices[f"world_mat_{i}"][:3] = k @ np.linalg.inv(pose)[:3]
        matrices[f"scale_mat_{i}"] = np.diag([0.8, 0.8, 0.8, 1])
    np.savez(folder / "cameras_sphere.npz", **matrices)  # type: ignore[arg-type]


def as_nsvf(cameras: list[Camera], pictures: list[np.ndarray], folder: Path) -> None:
    for name in ("rgb", "pose"):
        (folder / name).mkdir(parents=True)
    for i, (found, picture) in enumerate(zip(cameras, pictures, strict=True)):
        iio.imwrite(folder / "rgb" / f"{min(i, 1)}_{i:03d}.png", picture)
        pose = found.world_from_camera @ np.diag([1, -1, -1, 1])
        np.savetxt(folder / "pose" / f"{min(i, 1)}_{i:03d}.txt", pose)
    (folder / "intrinsics.txt").write_text(f"{cameras[0].fl_x} {cameras[0].cx} {cameras[0].cy}\n")
    (folder / "bbox.txt").write_text("-0.6 -0.8 -0.7 1 0.8 0.7 0.1\n")


def as_blender(cameras: list[Camera], pictures: list[np.ndarray], folder: Path) -> None:
    folder.mkdir()
    frames = []
    for i, (found, picture) in enumerate(zip(cameras, pictures, strict=True)):
        iio.imwrite(folder / f"{i}.png", picture)
        frames.append({"file_path": f"{i}", "transform_matrix": found.world_from_camera.tolist()})
    text = json.dumps({"fl_x": cameras[0].fl_x, "frames": frames})
    (folder / "transforms_train.json").write_text(text)


# 1.1 of what the cameras see across, from 4.5 away.
SEEN = 1.1 * np.hypot(4, 2) * np.tan(0.35)


@pytest.mark.parametrize("opaque", [False, True])
@pytest.mark.parametrize(
    ("write", "reader", "box"),
    [
        (as_blender, "blender", [[-SEEN] * 3, [SEEN] * 3]),
        (as_dtu, "dtu", [[-0.8] * 3, [0.8] * 3]),
        (as_nsvf, "nsvf", [[-0.6, -0.8, -0.7], [1, 0.8, 0.7]]),
    ],
)
def test_bounded_without_alpha(
    tmp_path: Path,
    write: Callable[[list[Camera], list[np.ndarray], Path], None],
    reader: str,
    box: list[list[float]],
    opaque: bool,
) -> None:
    """Layouts whose sets show an object in a box: all of the box is learnt, and nothing around it. Alpha that
    hides nothing changes none of that."""
    turns = 2 * np.pi * np.arange(9) / 9
    places = 4 * np.stack([np.cos(turns), np.sin(turns), np.full(9, 0.5)], -1)
    cameras = [look_at(place, (0, 0, 0), (0, 0, 1), 32, 32, 0.7) for place in places]
    pictures = [sphere_picture(found, np.array([0.2, 0, 0]), 0.6)[..., :3] for found in cameras]
    if opaque:
        pictures = [np.dstack([picture, np.full((32, 32), 255, np.uint8)]) for picture in pictures]
    write(cameras, pictures, tmp_path / "set")
    scene = load_scene(SCENE, [f"data.path={tmp_path / 'set'}", "data.format=auto"])
    posed = load_dataset(scene)
    assert isinstance(posed, PosedImages)
    assert not posed.unbounded and not posed.masked and posed.train.images.shape[-1] == 3
    source = np.linalg.inv(posed.world_from_source)
    np.testing.assert_allclose(posed.bounds @ source[:3, :3].T + source[:3, 3], box, atol=1e-5)
    found = inspect(scene)
    rows = dict(found.rows)
    assert rows["reader"].startswith(f"{reader}, because the folder holds")
    assert rows["resolution"] == "32x32, RGB, uint8" and rows["alpha"].startswith("none")
    assert rows["around the box"].startswith("nothing: ")
    assert "box by silhouettes" not in rows and not found.warnings
    assert found.picture.shape == (PANEL, 2 * PANEL, 3)


@pytest.mark.parametrize(
    ("bounds", "warning"),
    [
        # Above all cameras, whose covered pixels look down.
        ("[[0, 0, 8], [1, 1, 9]]", "the scene box misses the object: no covered pixel of any picture"),
        # Behind the ball as the first camera sees it.
        ("[[-4.2, -0.2, -2.4], [-3.8, 0.2, -2]]", "7 pictures have no covered pixel that looks into the"),
        ("[[-9, -9, -9], [9, 9, 9]]", "8 cameras stand inside the scene box: r_0, r_1,"),
    ],
)
def test_warnings(blender_folder: Path, bounds: str, warning: str) -> None:
    found = of(blender_folder, f"data.bounds={bounds}")
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith(warning)


def test_box_that_misses_pictures_without_alpha(cross: PosedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    away = replace(cross, bounds=cross.bounds + np.array([0, 0, 9], np.float32))
    level = cross.train.cameras
    away = replace(away, train=views(*level, channels=3), test=views(level[0], channels=3))
    found = of_dataset(away, monkeypatch)
    assert found.warnings == ["the scene box misses the object: no pixel of any picture looks into it"]


def test_cameras_of_another_size(cross: PosedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    cameras = tuple(replace(found, cx=1.9) for found in cross.test.cameras)
    found = of_dataset(replace(cross, test=replace(cross.test, cameras=cameras)), monkeypatch)
    assert "principal points far from the middle (cameras of another size?): v0" in found.warnings


def test_nothing_in_all_silhouettes(cross: PosedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = replace(cross.train, images=np.zeros_like(cross.train.images))
    found = of_dataset(replace(cross, train=empty), monkeypatch)
    assert any("nothing lies inside all silhouettes" in warning for warning in found.warnings)


def test_picture(tmp_path: Path) -> None:
    file = tmp_path / "grey.png"
    iio.imwrite(file, np.full((10, 20), 7, np.uint8))
    found = inspect(load_scene("image", ["data.format=auto", f"data.path={file}"]))
    rows = dict(found.rows)
    assert rows["reader"] == "picture, because a file in .png"
    assert rows["picture"] == "20x10, RGB, uint8"
    assert rows["peak"] == "1"
    assert not found.warnings
    assert found.picture.shape == (PANEL, 2 * PANEL, 3)


@pytest.mark.parametrize(("faces", "edges"), [(4, "none, it is closed"), (3, "3")])
def test_surface(cross: PosedImages, monkeypatch: pytest.MonkeyPatch, faces: int, edges: str) -> None:
    corners = 0.3 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float32)
    tetrahedron = Surface(
        vertices=corners,
        faces=np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])[:faces],
        points=np.zeros((4, 3), np.float32),
        distances=np.array([-0.25, 0, 0.5, 0.25], np.float32),
        test=cross.test,
        bounds=cross.bounds,
        background=cross.background,
        background_name=cross.background_name,
        up=cross.up,
        world_from_source=cross.world_from_source,
    )
    found = of_dataset(tetrahedron, monkeypatch)
    rows = dict(found.rows)
    assert rows["surface"] == f"4 vertices, {faces} faces"
    assert rows["open edges"] == edges
    assert rows["points"] == "4, 25.0 % inside"
    assert rows["distances"] == "-0.25 to 0.5 world units"
    assert rows["normalisation"] == "a source unit is 0.5 world units"


# What is drawn --------------------------------------------------------------------------------------------


def test_drawing(cross: PosedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cameras at 3 from the middle lie where the plan says: 3 of 3.18 from the middle of a panel."""
    picture = of_dataset(cross, monkeypatch).picture
    assert picture.shape == (PANEL, 2 * PANEL, 3)
    top, side = (panel.astype(int) for panel in (picture[:, :PANEL], picture[:, PANEL + 1 :]))
    blue_top, blue_side = (p[..., 2] > p[..., 0] + 60 for p in (top, side))
    orange_top, orange_side = (p[..., 0] > p[..., 2] + 60 for p in (top, side))
    middle, end = PANEL // 2, round(PANEL / 2 * (1 + 3 / 3.18))
    for row, column in ((middle, end), (middle, PANEL - end), (end, middle), (PANEL - end, middle)):
        assert blue_top[row - 2 : row + 3, column - 2 : column + 3].any()
    rows, columns = np.nonzero(blue_top)
    assert rows.min() >= PANEL - end - 2 and columns.max() <= end + 2  # and nowhere beyond
    assert abs(np.nonzero(orange_top)[1].mean() - middle) < 3
    # From the side the held-out camera stands above the others.
    assert np.nonzero(orange_side)[0].max() < np.nonzero(blue_side)[0].min()
    # The box is black, and grey inside: nothing of it is carved.
    half = PANEL / 2 / 3.18 / np.sqrt(3)
    edge = top[round(middle - half) - 2 : round(middle - half) + 3, middle - 5]
    assert edge.min() < 60
    inside = top[middle - 20, middle - 20]
    assert 100 < inside[0] < 240 and np.ptp(inside) == 0
    assert (top[:5] == 255).all()


# The command ----------------------------------------------------------------------------------------------


def test_command(blender_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs" / "ball"
    bounds = "data.bounds=[[-9, -9, -9], [9, 9, 9]]"
    assert main([SCENE, f"data.path={blender_folder}", bounds, "--inspect", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "pictures" in lines[2] and "6 to train on, 2 held out" in lines[2]
    assert any(line.startswith("warning: 8 cameras stand inside") for line in lines)
    assert str(out / "inspect.png") in lines[-1]
    assert [path.name for path in out.iterdir()] == ["inspect.png"]
    assert iio.imread(out / "inspect.png").shape == (PANEL, 2 * PANEL, 3)


def test_command_refuses(blender_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [SCENE, f"data.path={blender_folder}", "--inspect"]
    assert main([*words, "--resume"]) == 2
    (tmp_path / "file").touch()
    assert main([*words, "--out", str(tmp_path / "file")]) == 2
    assert main([SCENE, "data.path=/nowhere", "--inspect"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    for line, part in zip(lines, ("--resume", "file", "there is no /nowhere"), strict=True):
        assert part in line


def test_needs_no_torch(blender_folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'numba', 'scipy', 'trimesh', 'embreex'): sys.modules[name] = None\n"
        "from training.cli import main\n"
        "raise SystemExit(main(sys.argv[1:]))"
    )
    words = [SCENE, f"data.path={blender_folder}", "--inspect", "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "inspect.png").is_file()
