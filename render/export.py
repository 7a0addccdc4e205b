"""``render-export``: an asset as a picture, a film, a mesh, or as one file that needs nothing of ours.

The ``.glsl`` file is a GLSL 3.30 fragment shader: networks as literals, tables as base64 blocks in comments
at its end. Its first comment tells the uniforms and the tables, one a line, so a loader is a few lines of any
language. The ``.onnx`` file of a light field is ``render/onnx_graph.py``'s.
"""

from __future__ import annotations

import argparse
import base64
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render import command, film, mesh, pictures, reference
from render.animation import MOTIONS
from render.asset import BakedAsset, asset_path, read_asset
from render.camera import Camera
from render.camera_path import read_camera
from render.context import create_context
from render.errors import InshaderError
from render.files import atomic_write
from render.glsl import FRAGMENT, SHADERS, compose
from render.ndc import DEFINES as NDC_DEFINES
from render.onnx_graph import onnx_model
from render.parts import Parts, texture_rows
from render.renderer import MODES, Renderer, check_mode, driver_of

SAMPLES, MAX_SAMPLES = 64, 1 << 16
_HEADER = """\
// A neural field in one fragment shader (GLSL 3.30 core), exported by Inshader.
//
// Draw it over the whole viewport, one fragment a pixel. Output 0 is the colour in display sRGB, its alpha
// the coverage; output 1 the number of network evaluations, which may be left unconnected. Lines below that
// begin with "uniform" give type, name and the values of the view it was exported with. The camera looks
// along -z of u_world_from_camera, whose columns are its right, up and back axes in the world. For a picture
// of w x h pixels with focal length f, principal point (cx, cy) from the top left: u_focal = (f, -f),
// u_centre = (cx, h - cy), because gl_FragCoord counts rows from the bottom.
//
{uniforms}
//
// Lines that begin with "table" give name, format and size of the textures to bind to the samplers, without
// filtering. Their data stand at the end of this file, in a comment that begins with "data" and the name:
// base64 of little-endian 32-bit words, row by row. Strip those comments before compiling if that is slow.
//
{tables}
"""


def glsl_text(asset: BakedAsset, camera: Camera) -> str:
    """The asset as one self-contained fragment shader; ``camera`` gives the values its comment shows.

    Raises:
        InshaderError: the asset cannot be drawn, or not by one fragment shader.
    """
    driver = driver_of(asset)
    if "fragment" not in driver.HOSTS:
        raise InshaderError(f"the driver {asset.driver} has no fragment host, so there is no .glsl of it")
    if not (SHADERS / f"drivers/{asset.driver}.frag").exists():
        raise InshaderError(
            f"the driver {asset.driver} draws meshes in several passes, so there is no .glsl of it"
        )
    parts = Parts(asset, "fragment")
    modes = {f"MODE_{name.upper()}": number for name, number in MODES.items()}
    defines = {**modes, **NDC_DEFINES, "NORMALS": 0}
    source = compose(
        f"drivers/{asset.driver}.frag",
        version=FRAGMENT,
        family=asset.shader,
        expand=parts.expand,
        defines=defines,
    )
    version, *code = [line for line in source.text.splitlines() if not line.startswith("#line ")]
    values: dict[tuple[str, str], Any] = {
        ("mat3", "u_world_from_camera"): camera.world_from_camera[:3, :3].T.ravel(),
        ("vec3", "u_position"): camera.position,
        ("vec2", "u_focal"): [camera.fl_x, -camera.fl_y],
        ("vec2", "u_centre"): [camera.cx, camera.h - camera.cy],
        ("vec3", "u_background"): asset.background,
        ("int", "u_mode"): [MODES["colour"]],
    }
    uniforms = [
        f"// uniform {kind} {name} {' '.join(f'{float(v):.9g}' for v in np.ravel(numbers))}"
        for (kind, name), numbers in values.items()
    ]
    tables, data = [], []
    for name, words in parts.tables.items():
        rows = texture_rows(words)
        tables.append(f"// table {name}_table r32ui {rows.shape[1]}x{rows.shape[0]}")
        text = base64.b64encode(rows.astype("<u4").tobytes()).decode()
        lines = [text[start : start + 120] for start in range(0, len(text), 120)]
        data.append("\n".join([f"/* data {name}_table", *lines, "*/"]))
    header = _HEADER.format(uniforms="\n".join(uniforms), tables="\n".join(tables))
    return "\n".join([version, header, *code, *data]) + "\n"


def _images(asset: BakedAsset, camera: Camera, mode: str) -> dict[str, NDArray[np.float32]]:
    """Drawn by the renderer, or without OpenGL by its slow twin."""
    try:
        ctx = create_context()
    except InshaderError as error:
        print(f"render-export: drawn without OpenGL, slowly: {error}", file=sys.stderr)
        return reference.draw(asset, camera, mode=mode)
    with Renderer(ctx, asset) as renderer:
        images = renderer.draw(camera, mode=mode).images
    ctx.release()
    return images


def _png(asset: BakedAsset, camera: Camera, path: Path) -> None:
    pictures.write_png(path, _images(asset, camera, "colour")["colour"])


def _exr(asset: BakedAsset, camera: Camera, path: Path, mode: str = "colour") -> None:
    check_mode(driver_of(asset), mode)
    images = _images(asset, camera, mode)
    pictures.write_exr(path, pictures.exr_channels(asset, mode, images))


def _path_traced(asset: BakedAsset, camera: Camera, path: Path, samples: int, denoise: bool) -> None:
    """A picture by the driver ``pathtrace``, which has no renderer without OpenGL."""
    driver_of(asset, "pathtrace")
    ctx = create_context()
    with Renderer(ctx, asset, driver="pathtrace") as renderer:
        picture = renderer.draw(camera, state={"samples": samples, "denoise": denoise}).images["colour"]
    ctx.release()
    pictures.write_png(path, picture)


def _glsl(asset: BakedAsset, camera: Camera, path: Path) -> None:
    atomic_write(path, glsl_text(asset, camera).encode())


def _onnx(asset: BakedAsset, camera: Camera, path: Path) -> None:
    driver_of(asset)
    atomic_write(path, onnx_model(asset, camera).SerializeToString(deterministic=True))


WRITERS: Mapping[str, Callable[[BakedAsset, Camera, Path], None]] = {
    ".png": _png,
    ".exr": _exr,
    ".glsl": _glsl,
    ".onnx": _onnx,
}
VIDEO = ".mp4"
SUFFIXES = (*WRITERS, VIDEO, *mesh.SUFFIXES)


def _export(arguments: argparse.Namespace) -> None:
    target: Path = arguments.to
    suffix = target.suffix.lower()
    _check_options(target, suffix, arguments)
    asset = read_asset(asset_path(arguments.asset))
    if suffix == VIDEO:
        film.write_film(asset, target, arguments.camera, arguments.size, arguments.frames, arguments.deform)
        return
    if suffix in mesh.SUFFIXES:
        atomic_write(target, mesh.mesh_file(asset, suffix, arguments.resolution))
        return
    camera = asset.camera if arguments.camera is None else read_camera(arguments.camera)
    if arguments.size is not None:
        camera = camera.resized(*arguments.size)
    if arguments.mode is not None:
        _exr(asset, camera, target, arguments.mode)
    elif arguments.driver is None:
        WRITERS[suffix](asset, camera, target)
    else:
        _path_traced(asset, camera, target, arguments.samples or SAMPLES, arguments.denoise)


def _check_options(target: Path, suffix: str, arguments: argparse.Namespace) -> None:
    """Raise InshaderError unless the options are those of what the suffix asks for."""
    if suffix not in SUFFIXES:
        raise InshaderError(
            f"--to {target}: {target.suffix or 'no suffix'} is not supported, use {' or '.join(SUFFIXES)}"
        )
    if suffix in mesh.SUFFIXES and (arguments.camera is not None or arguments.size is not None):
        raise InshaderError(f"--to {target}: --camera and --size are those of a picture; use --resolution")
    if suffix not in mesh.SUFFIXES and arguments.resolution is not None:
        raise InshaderError(f"--resolution is that of a mesh, {' or '.join(mesh.SUFFIXES)}; use --size")
    if suffix != VIDEO and (arguments.frames is not None or arguments.deform is not None):
        raise InshaderError(f"--to {target}: --frames and --deform are those of a film, use {VIDEO}")
    if arguments.driver is None and (arguments.samples is not None or arguments.denoise):
        raise InshaderError("--samples and --denoise are those of --driver pathtrace")
    if suffix != ".exr" and arguments.mode is not None:
        raise InshaderError(f"--to {target}: --mode gives the numbers of another quantity, use .exr")
    if arguments.driver is not None and suffix != ".png":
        raise InshaderError(f"--to {target}: --driver pathtrace writes pictures, use .png")


def _samples(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= MAX_SAMPLES):
        raise InshaderError(f"{text!r:.40} is not a number of samples: expected 1 to {MAX_SAMPLES}")
    return int(text)


def _frames(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= film.MAX_FRAMES):
        raise InshaderError(f"{text!r:.40} is not a number of frames: expected 1 to {film.MAX_FRAMES}")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = command.parser(
        "render-export",
        "Writes an asset as a picture, a film, a mesh, a self-contained shader or an ONNX graph.",
    )
    arguments.add_argument(
        "asset", type=Path, metavar="ASSET|DIR", help="an asset, or a folder made by render-train"
    )
    arguments.add_argument(
        "--to",
        type=Path,
        required=True,
        metavar="FILE",
        help=f"its suffix tells what: {' '.join(SUFFIXES)}",
    )
    arguments.add_argument(
        "--camera",
        type=Path,
        metavar="FILE",
        help="a camera as JSON, for a film also a list of them, each with its t in seconds; default: the "
        "asset's own, which goes around it in a film",
    )
    arguments.add_argument(
        "--size", type=command.size, metavar="WxH", help="of the picture; default: the camera's own"
    )
    arguments.add_argument(
        "--frames",
        type=_frames,
        metavar="N",
        help=f"of a film, {film.FPS} a second; default: as long as the path of cameras, else "
        f"{film.SECONDS:g} seconds",
    )
    arguments.add_argument(
        "--deform", choices=MOTIONS, help="what a shell does in a film; soft: it falls as a soft body"
    )
    arguments.add_argument(
        "--resolution",
        type=int,
        metavar="N",
        help=f"of a mesh: cells along its longest side; default: {mesh.DEFAULT_RESOLUTION}",
    )
    arguments.add_argument(
        "--mode", choices=MODES, help="what an .exr holds, as numbers; default: colour, as linear light"
    )
    arguments.add_argument(
        "--driver", choices=("pathtrace",), help="global illumination, for an asset with a surface"
    )
    arguments.add_argument(
        "--samples", type=_samples, metavar="N", help=f"a pixel, for pathtrace; default: {SAMPLES}"
    )
    arguments.add_argument("--denoise", action="store_true", help="filter the picture of pathtrace")
    return command.run(_export, arguments.parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
