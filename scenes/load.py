"""From a scene to its data: choosing the reader."""

from __future__ import annotations

from pathlib import Path

from render.errors import InshaderError
from scenes.dataset import Dataset
from scenes.scene import Scene

MESH_EXTENSIONS = (".obj", ".ply", ".stl", ".off", ".glb", ".gltf", ".3mf", ".dae")
PICTURE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".exr", ".hdr", ".tif", ".tiff", ".webp", ".bmp")
ACCEPTED = (
    "a folder with transforms_train.json (blender), cameras_sphere.npz (dtu), transforms.json (transforms), "
    "poses_bounds.npy (llff), sparse/0/cameras.bin or .txt (colmap) or intrinsics.txt, pose and rgb (nsvf), "
    f"a mesh ({' '.join(MESH_EXTENSIONS)}) or a picture "
    f"({' '.join(PICTURE_EXTENSIONS)})"
)
# Which files make a folder which format; the first that is there decides.
FILES = {
    "transforms_train.json": "blender",
    "cameras_sphere.npz": "dtu",
    "cameras.npz": "dtu",
    "transforms.json": "transforms",
    "poses_bounds.npy": "llff",
    **{
        f"{folder}cameras.{kind}": "colmap"
        for folder in ("sparse/0/", "colmap/sparse/0/", "sparse/", "")
        for kind in ("bin", "txt")
    },
    "intrinsics.txt": "nsvf",
}
POSES = (
    "nothing tells where they were taken from: COLMAP finds that out (colmap automatic_reconstructor, or "
    "nerfstudio's ns-process-data, or instant-ngp's colmap2nerf.py); name the folder that it leaves"
)


def load_dataset(scene: Scene) -> Dataset:
    """Read, render or sample the data of a scene, in world units.

    Raises:
        InshaderError: ``data`` names nothing that a reader accepts, or the reader found a mistake.
    """
    path = scene.data_path
    kind, _ = recognised(scene)
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
    if not path.is_dir():
        expected = next(name for name, found in FILES.items() if found == kind)
        raise InshaderError(f"data.path: {path} is no folder, data.format={kind} expects one with {expected}")
    if kind == "dtu":
        from scenes.dtu import read_dtu

        return read_dtu(path, scene)
    if not any((path / name).is_file() for name, found in FILES.items() if found == kind):
        there = next((found for name, found in FILES.items() if (path / name).is_file()), None)
        if there is not None:
            raise InshaderError(
                f"data.format={kind}: {path} is a folder of {there}: expected {there}, or auto"
            )
        raise InshaderError(_unfamiliar(path))
    if kind == "transforms":
        from scenes.capture import read_capture

        return read_capture(path, scene)
    if kind == "llff":
        from scenes.llff import read_llff

        return read_llff(path, scene)
    if kind == "colmap":
        from scenes.colmap import read_colmap

        return read_colmap(path, scene)
    if kind == "nsvf":
        from scenes.nsvf import read_nsvf

        return read_nsvf(path, scene)
    from scenes.blender import read_blender

    return read_blender(path, scene)


def recognised(scene: Scene) -> tuple[str, str]:
    """The format of a scene's data, and why: ``data.format``, or what lies at ``data.path``.

    Raises:
        InshaderError: the format is auto, and nothing that a reader accepts lies there.
    """
    path = scene.data_path
    if scene.data.format != "auto":
        return scene.data.format, f"data.format={scene.data.format}"
    if path is None:
        return "procedural", "data.path is not set"
    if path.is_file():
        kinds = {"mesh": MESH_EXTENSIONS, "picture": PICTURE_EXTENSIONS}
        for kind, extensions in kinds.items():
            if path.suffix.lower() in extensions:
                return kind, f"a file in {path.suffix.lower()}"
        raise InshaderError(f"data.path: {path} is not such a file: expected {ACCEPTED}")
    if not path.is_dir():
        raise InshaderError(f"data.path: there is no {path}: expected {ACCEPTED}")
    for name, kind in FILES.items():
        if (path / name).is_file():
            return kind, f"the folder holds {name}"
    raise InshaderError(_unfamiliar(path))


def _unfamiliar(path: Path) -> str:
    entries = sorted(path.iterdir())
    names = [entry.name for entry in entries]
    for folder in (path, *(entry for entry in entries if entry.is_dir() and entry.name.startswith("images"))):
        suffixes = [entry.suffix.lower() for entry in folder.iterdir()]
        if any(suffix in (".heic", ".heif") for suffix in suffixes):
            return (
                f"data.path: {folder} holds HEIC, which is not read: expected JPEG or PNG, and poses of them"
            )
        count = sum(suffix in PICTURE_EXTENSIONS for suffix in suffixes)
        if count > 1:
            return f"data.path: {folder} holds {count} pictures and {POSES}"
    found = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "") if names else "nothing"
    return f"data.path: {path} holds {found}: expected {ACCEPTED}"
