"""The key ``stage`` of a scene file: what is read, where it comes to stand, and how mistakes are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from render.errors import InshaderError
from render.stage import stage_from_json
from scenes.document import parse_yaml
from scenes.scene import load_scene
from scenes.stage import PICTURE_SIZE, Stage, read_stage

TETRAHEDRON = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
# twice as large, turned a quarter about z, and moved
WORLD_FROM_SOURCE = np.array([[0, -2, 0, 1], [2, 0, 0, 0], [0, 0, 2, -1], [0, 0, 0, 1.0]])
FULL = """
neural: emitter
environment: {top: [1, 2, 3], bottom: [0.5, 0.5, 0.5], strength: 2}
objects:
  - plane: {point: [0, 0, 1], normal: [1, 0, 0]}
    diffuse: {albedo: [0.5, 0.4, 0.3]}
  - sphere: {centre: [1, 0, 0], radius: 0.5}
    metal: {roughness: 0.2}
  - box: {low: [0, 0, 0], high: [2, 4, 6], rotation: [0, 0, 90]}
    glass: {}
  - mesh: {path: part.obj, scale: 2, rotation: [90, 0, 0], translation: [0, 0, 1]}
    emission: {radiance: [1, 1, 1]}
lights:
  - sphere: {centre: [0, 0, 3], radius: 0.1}
    radiance: [9, 9, 9]
  - rectangle: {corner: [0, 0, 2], edges: [[1, 0, 0], [0, 3, 0]]}
    radiance: [5, 5, 5]
"""


def section(text: str) -> Stage:
    return Stage.model_validate(parse_yaml(text, "test"))


def scene_file(folder: Path, stage: str) -> Path:
    path = folder / "scene.yaml"
    path.write_text("stage:\n" + "".join(f"  {line}\n" for line in stage.strip().splitlines()))
    return path


def write_hdr(path: Path, w: int, h: int, value: int = 128) -> Path:
    """A flat Radiance picture of ``value`` / 128."""
    path.write_bytes(
        b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n"
        + f"-Y {h} +X {w}\n".encode()
        + bytes([value, value, value, 129]) * (w * h)
    )
    return path


def test_everything_comes_to_stand_in_the_world(tmp_path: Path) -> None:
    (tmp_path / "part.obj").write_text(TETRAHEDRON)
    scene = load_scene(scene_file(tmp_path, FULL))
    assert scene.stage is not None
    stage = stage_from_json(*read_stage(scene.stage, WORLD_FROM_SOURCE, scene.find))
    plane, sphere, box, mesh, ball, lamp = stage.solids
    assert stage.neural == "emitter"
    assert np.allclose([stage.environment.top, stage.environment.bottom], [[2, 4, 6], [1, 1, 1]])
    assert np.allclose(plane.geometry["point"], [1, 0, 1]) and np.allclose(
        plane.geometry["normal"], [0, 1, 0]
    )
    assert np.allclose(plane.surface["albedo"], [0.5, 0.4, 0.3])
    assert np.allclose(sphere.geometry["centre"], [1, 2, -1]) and sphere.geometry["radius"] == 1
    # two quarter turns: the box's own x lies along -x of the world
    assert np.allclose(box.geometry["centre"], [-3, 2, 5])
    assert np.allclose(box.geometry["half_size"], [2, 4, 6])
    assert np.allclose(box.geometry["axes"], [[-1, 0, 0], [0, -1, 0], [0, 0, 1]], atol=1e-6)
    assert ball.is_light and lamp.is_light and not mesh.is_light
    assert np.allclose(lamp.geometry["edges"], [[0, 2, 0], [-6, 0, 0]])
    assert mesh.vertices is not None and mesh.faces is not None
    # (0, 1, 0), turned about x to (0, 0, 1), scaled, moved to (0, 0, 3), then to the world
    assert np.isclose(mesh.vertices, [1, 0, 5]).all(1).any()
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    volume = (np.cross(corners[:, 0], corners[:, 1]) * corners[:, 2]).sum() / 6
    assert np.isclose(volume, 4**3 / 6)  # faces still run anticlockwise


def test_a_mirrored_world_turns_faces_around(tmp_path: Path) -> None:
    (tmp_path / "part.obj").write_text(TETRAHEDRON)
    stage = section("objects: [{mesh: {path: part.obj}, diffuse: {}}]")
    found = stage_from_json(*read_stage(stage, np.diag([-1.0, 1, 1, 1]), lambda text: tmp_path / text))
    vertices, faces = found.solids[0].vertices, found.solids[0].faces
    assert vertices is not None and faces is not None
    corners = vertices[faces].astype(np.float64)
    assert (np.cross(corners[:, 0], corners[:, 1]) * corners[:, 2]).sum() > 0


def test_picture_of_the_environment(tmp_path: Path) -> None:
    write_hdr(tmp_path / "sky.hdr", 2 * PICTURE_SIZE, PICTURE_SIZE)
    stage = section("environment: {picture: sky.hdr, strength: 3}")
    picture = stage_from_json(*read_stage(stage, np.eye(4), lambda text: tmp_path / text)).environment.picture
    assert picture is not None and picture.shape == (PICTURE_SIZE // 2, PICTURE_SIZE, 3)
    assert np.allclose(picture, 3, rtol=0.01)


def test_resolved_is_a_scene_again(tmp_path: Path) -> None:
    import yaml

    scene = load_scene(scene_file(tmp_path, FULL))
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(scene.resolved()))
    assert load_scene(again).stage == scene.stage
    assert "stage" not in load_scene("quickstart").resolved()


def test_bundled_stage() -> None:
    scene = load_scene("kiloneus_gi")
    assert scene.stage is not None and scene.family == "kiloneus"
    stage = stage_from_json(*read_stage(scene.stage, np.eye(4), scene.find))
    kinds = {(solid.shape, solid.material) for solid in stage.solids}
    assert {("plane", "diffuse"), ("sphere", "metal"), ("rectangle", "emission")} <= kinds


@pytest.mark.parametrize(
    ("stage", "parts"),
    [
        ("neural: mirror", ["stage.neural", "emitter", "mirror"]),
        ("neurl: emitter", ["stage.neurl is not a known key", "stage.neural"]),
        ("environment: {colr: [1, 1, 1]}", ["stage.environment.colr", "stage.environment.colour"]),
        ("environment: {}", ["stage.environment", "no light", "colour"]),
        ("environment: {top: [1, 1, 1]}", ["stage.environment", "both"]),
        ("environment: {colour: [1, 1, 1], picture: a.hdr}", ["colour and picture", "one of"]),
        ("environment: {colour: [1, -1, 1]}", ["stage.environment.colour.1", "-1"]),
        ("objects: [{diffuse: {}}]", ["stage.objects.0", "no shape", "sphere"]),
        ("objects: [{sphere: {centre: [0, 0, 0], radius: 1}}]", ["stage.objects.0", "no material", "glass"]),
        (
            "objects: [{sphere: {centre: [0, 0, 0], radius: 1}, diffuse: {}, glass: {}}]",
            ["diffuse and glass", "one of"],
        ),
        ("objects: [{sphere: {centre: [0, 0], radius: 1}, diffuse: {}}]", ["stage.objects.0.sphere.centre"]),
        (
            "objects: [{sphere: {center: [0, 0, 0], radius: 1}, diffuse: {}}]",
            ["sphere.center", "sphere.centre"],
        ),
        ("objects: [{sphere: {centre: [0, 0, 0], radius: 0}, diffuse: {}}]", ["radius", "greater than 0"]),
        ("objects: [{plane: {point: [0, 0, 0], normal: [0, 0, 0]}, diffuse: {}}]", ["no length"]),
        ("objects: [{box: {low: [0, 0, 0], high: [1, 0, 1]}, diffuse: {}}]", ["low below high"]),
        ("objects: [{box: {low: [0, 0, 0], high: [1, 1, 1]}, metal: {roughness: 2}}]", ["roughness", "2"]),
        ("objects: 3", ["stage.objects", "3"]),
        ("lights: [{radiance: [1, 1, 1]}]", ["stage.lights.0", "no shape"]),
        (
            "lights: [{rectangle: {corner: [0, 0, 0], edges: [[1, 0, 0], [1, 1, 0]]}, radiance: [1, 1, 1]}]",
            ["stage.lights.0.rectangle", "right angles"],
        ),
        ("lights: [{sphere: {centre: [0, 0, 0], radius: 1}}]", ["stage.lights.0.radiance", "required"]),
    ],
)
def test_mistakes(stage: str, parts: list[str], tmp_path: Path) -> None:
    with pytest.raises(InshaderError) as error:
        load_scene(scene_file(tmp_path, stage))
    assert all(part in str(error.value) for part in ["scene.yaml", *parts])


def test_misspelt_section_and_override(tmp_path: Path) -> None:
    path = tmp_path / "scene.yaml"
    path.write_text("stages: {neural: emitter}")
    with pytest.raises(InshaderError, match="did you mean stage"):
        load_scene(path)
    assert load_scene("kiloneus_gi", ["stage.neural=emitter"]).stage != load_scene("kiloneus_gi").stage
    with pytest.raises(InshaderError, match=r"override 'stage\.neural=both'"):
        load_scene("kiloneus_gi", ["stage.neural=both"])


@pytest.mark.parametrize(
    ("stage", "parts"),
    [
        ("objects: [{mesh: {path: none.obj}, diffuse: {}}]", ["none.obj", "expected a mesh"]),
        ("objects: [{mesh: {path: broken.obj}, diffuse: {}}]", ["broken.obj", "mesh"]),
        ("objects: [{mesh: {path: part.obj, scale: 999999}, diffuse: {}}]", ["part.obj", "away"]),
        ("environment: {picture: none.hdr}", ["none.hdr"]),
        ("environment: {picture: sky.png}", ["sky.png", ".hdr or .exr"]),
        ("environment: {picture: broken.hdr}", ["broken.hdr"]),
        ("environment: {picture: upright.hdr}", ["upright.hdr", "twice as wide"]),
    ],
)
def test_files_that_cannot_be_read(stage: str, parts: list[str], tmp_path: Path) -> None:
    (tmp_path / "part.obj").write_text(TETRAHEDRON)
    (tmp_path / "broken.obj").write_text("v 1 2\n")
    (tmp_path / "broken.hdr").write_bytes(b"#?RADIANCE\n\n-Y 4 +X 8\n123")
    write_hdr(tmp_path / "upright.hdr", 8, 16)
    world: Any = np.diag([2.0, 2, 2, 1])
    with pytest.raises(InshaderError) as error:
        read_stage(section(stage), world, lambda text: tmp_path / text)
    assert all(part in str(error.value) for part in parts)
