"""From a scene to its data: choosing the reader."""

from __future__ import annotations

from pathlib import Path

from render.errors import InshaderError
from scenes.dataset import Dataset
from scenes.scene import Scene

MESH_EXTENSIONS = (".obj", ".ply", ".stl", ".off", ".glb", ".gltf", ".3mf", ".dae")
PICTURE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".exr", ".hdr", ".tif", ".tiff", ".webp", ".bmp")
ACCEPTED = (
    f"a folder with transforms_train.json (blender), a mesh ({' '.join(MESH_EXTENSIONS)}) "
    f"or a picture ({' '.join(PICTURE_EXTENSIONS)})"
)


def load_dataset(scene: Scene) -> Dataset:
    """Read, render or sample the data of a scene, in world units.

    Raises:
        InshaderError: ``data`` names nothing that a reader accepts, or the reader found a mistake.
    """
    path = scene.data_path
    kind = _recognise(path) if scene.data.format == "auto" else scene.data.format
    if kind == "procedural":
        from scenes.procedural import render_procedural

        return render_procedural(scene)
    if path is None:
        raise InshaderError(f"data.path is not set, data.format={kind} needs it: expected {ACCEPTED}")
    if not path.exists():
        raise InshaderError(f"data.path: there is no {path}: expected {ACCEPTED}")
    if kind == "mesh":
        from scenes.mesh import render_mesh

        return render_mesh(path, scene)
    if kind == "surface":
        from scenes.surface import read_surface

        return read_surface(path, scene)
    if kind == "picture":
        from scenes.picture import read_picture

        return read_picture(path, scene)
    from scenes.blender import read_blender

    if not path.is_dir():
        raise InshaderError(
            f"data.path: {path} is no folder, data.format=blender expects one with transforms_train.json"
        )
    if not (path / "transforms_train.json").is_file():
        raise InshaderError(_unfamiliar(path))
    return read_blender(path, scene)


def _recognise(path: Path | None) -> str:
    """The format of what lies at ``path``; without a path the procedural scene."""
    if path is None:
        return "procedural"
    if path.is_file():
        if path.suffix.lower() in MESH_EXTENSIONS:
            return "mesh"
        if path.suffix.lower() in PICTURE_EXTENSIONS:
            return "picture"
        raise InshaderError(f"data.path: {path} is not such a file: expected {ACCEPTED}")
    if not path.is_dir():
        raise InshaderError(f"data.path: there is no {path}: expected {ACCEPTED}")
    if (path / "transforms_train.json").is_file():
        return "blender"
    raise InshaderError(_unfamiliar(path))


def _unfamiliar(path: Path) -> str:
    names = sorted(entry.name for entry in path.iterdir())
    found = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "") if names else "nothing"
    return f"data.path: {path} holds {found}: expected {ACCEPTED}"
