"""``render-train --doctor``: what is installed, what was found here, and what falls back to what."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil

from render.errors import InshaderError

# Optional packages: what they are for, and what happens without them.
PACKAGES = {
    "torch": ("training", "there is none without it"),
    "numba": ("training on a processor", "there is none without it"),
    "moderngl": ("drawing", "nothing is drawn without it"),
    "trimesh": ("reading meshes", "meshes are refused"),
    "embreex": ("adaptive shells, rendering of meshes", "both are refused"),
    "scikit-image": ("meshes of fields", "their export and shells are refused"),
    "fast-simplification": ("adaptive shells", "they are refused"),
    "libigl": ("distances to meshes", "the task sdf is refused"),
    "glfw": ("the viewer's window", "render-view is refused"),
    "imgui-bundle": ("the viewer's panels", "render-view is refused"),
    "av": ("films", ".mp4 is refused"),
    "OpenEXR": ("EXR pictures", ".exr is refused"),
}

Rows = list[tuple[str, str]]


def doctor() -> Rows:
    """Name and finding, in the order to be shown."""
    return [
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *_packages(),
        *_graphics(),
        *_cuda(),
    ]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packages() -> Rows:
    rows = [("inshader", _version("inshader") or "not installed, run from its folder")]
    for package, (purpose, without) in PACKAGES.items():
        version = _version(package)
        rows.append((package, version or f"not installed ({purpose}): {without}"))
    return rows


def _graphics() -> Rows:
    """OpenGL as the renderer gets it; a context of its own for EGL, which may be there beside another."""
    if _version("moderngl") is None:
        return [("OpenGL", "unknown: moderngl is not installed")]
    import moderngl

    from render.context import create_context, is_software

    rows = []
    try:
        with create_context() as context:
            software = ", drawn by the processor" if is_software(context) else ""
            renderer, version = context.info["GL_RENDERER"], context.info["GL_VERSION"]
            rows.append(("OpenGL", f"{renderer}, {version}{software}"))
            hosts = "compute shaders" if context.version_code >= 430 else "fragment shaders alone, slower"
            rows.append(("", f"{hosts} (OpenGL {context.version_code / 100:.1f})"))
    except InshaderError as error:
        rows.append(
            ("OpenGL", f"{error}; training is scored by the numpy renderer, viewer and bench are refused")
        )
    try:
        moderngl.create_context(standalone=True, require=330, backend="egl").release()  # type: ignore[arg-type]
        rows.append(("EGL", "works: no display is needed"))
    except Exception as error:  # each back end of glcontext has its own exceptions
        rows.append(("EGL", f"does not work ({error}); a display is needed"))
    return rows


def _cuda() -> Rows:
    if _version("torch") is None:
        return [("CUDA", "unknown: torch is not installed")]
    import torch

    from training.kernels.cuda.libraries import look_for_all

    found = torch.cuda.is_available()
    if found:
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        rows = [("CUDA", f"{torch.version.cuda}: {names}")]
    else:
        why = "this torch is built without it" if torch.version.cuda is None else "torch sees no device"
        driver = "" if shutil.which("nvidia-smi") else ", nvidia-smi is not there"
        rows = [("CUDA", f"none, {why}{driver}: --device auto is cpu, with numba kernels")]
    for library in look_for_all(found):
        rows.append((library.name, str(library.version) if library.found else library.why_not))
    fall_back = "torch takes the place of what is missing, on CUDA; numba kernels serve the processor"
    return [*rows, ("kernels", fall_back)]
