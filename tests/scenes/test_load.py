from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from render.errors import InshaderError
from scenes import load_dataset, load_scene


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["data.format=auto", "data.path={}/none"], ["there is no", "transforms_train.json (blender)"]),
        (["data.format=blender"], ["data.path is not set"]),
        (["data.format=mesh", "data.path={}/none.obj"], ["there is no"]),
        (
            ["data.format=auto", "data.path={}"],
            ["holds a.txt, other, phone", "expected a folder with transforms_train.json"],
        ),
        (["data.format=auto", "data.path={}/a.txt"], ["a.txt is not such a file", ".obj"]),
        (["data.format=auto", "data.path={}/other"], ["holds nothing"]),
        (["data.format=blender", "data.path={}/a.txt"], ["is no folder"]),
        (
            ["data.format=blender", "data.path={}/other"],
            ["holds nothing"],
        ),
        (
            ["data.format=transforms", "data.path={}/posed"],
            ["is a folder of colmap: expected colmap, or auto"],
        ),
        (["data.format=auto", "data.path={}/phone"], ["phone/images holds HEIC", "JPEG or PNG"]),
    ],
)
def test_what_is_found_and_what_is_accepted(tmp_path: Path, overrides: list[str], parts: list[str]) -> None:
    folder = tmp_path / "data"
    (folder / "other").mkdir(parents=True)
    (folder / "a.txt").write_text("")
    for name in ("posed/sparse/0/cameras.bin", "phone/images/IMG_1.HEIC"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(b"")
    with pytest.raises(InshaderError) as caught:
        load_dataset(load_scene("quickstart", [override.format(folder) for override in overrides]))
    for part in parts:
        assert part in str(caught.value)


def test_auto_recognises(blender_folder: Path) -> None:
    scene = load_scene("quickstart", ["data.format=auto", f"data.path={blender_folder}"])
    assert len(load_dataset(scene).train) == 6


def test_importing_is_light() -> None:
    heavy = "{'numba', 'torch', 'trimesh', 'embreex', 'scipy', 'imageio'}"
    code = f"import sys, scenes, scenes.procedural, scenes.mesh; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
