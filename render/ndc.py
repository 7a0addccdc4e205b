"""Normalised device coordinates: all that one frame sees from its near plane to infinity, in a cube.

Rays stay straight in them, and even steps are even in disparity, which is what photographs taken side by side
tell of. Source: Mildenhall et al., *NeRF*, 2020, appendix C, with the near plane at 1.

``training/ndc.py`` is the twin for tensors, ``shaders/common/ndc.glsl`` that for shaders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.errors import InshaderError

SIDEWAYS = 0.05  # -z of a unit direction in the frame: rays that look less forward than this are none
NEAREST_TO_INFINITY = 1e-3  # 1 - z of the farthest place that still has a distance: 2000 near planes away
DEFINES = {"SIDEWAYS": SIDEWAYS, "NEAREST_TO_INFINITY": NEAREST_TO_INFINITY}  # of the shader
# The constants of an asset whose rays are not projected.
STRAIGHT: dict[str, int | float | tuple[float, ...]] = {
    "forward": 0,
    "ndc": (1.0, 1.0),
    "frame_x": (1.0, 0.0, 0.0, 0.0),
    "frame_y": (0.0, 1.0, 0.0, 0.0),
    "frame_z": (0.0, 0.0, 1.0, 0.0),
}


@dataclass(frozen=True, eq=False)
class Ndc:
    """From the world to normalised device coordinates and back.

    Attributes:
        frame: (3, 4) float64, from the world to a camera's axes, in units of its near plane's distance.
        scale: (x, y), what slopes are multiplied by.
    """

    frame: NDArray[np.float64]
    scale: tuple[float, float]

    def directions(self, d: NDArray[np.floating]) -> NDArray[np.float64]:
        """World directions (..., 3) along the frame's axes."""
        return np.asarray(d @ self.frame[:, :3].T, np.float64)

    def places(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """World places (..., 3) in the frame; its near plane is at z = -1."""
        return np.asarray(self.directions(x) + self.frame[:, 3])

    def ends(self, o: NDArray[np.floating], d: NDArray[np.floating]) -> tuple[NDArray[np.float64], ...]:
        """Where rays along d (..., 3) from o (3,) or (..., 3), world, are on the near plane and at infinity,
        both (..., 3) in normalised device coordinates. Those that hardly look forward are led far to the
        side.
        """
        o, d = self.places(o), self.directions(d)
        dz = np.minimum(d[..., 2:], -SIDEWAYS * np.linalg.norm(d, axis=-1, keepdims=True))
        start = o - (1 + o[..., 2:]) / dz * d
        scale = np.array(self.scale)
        first = np.concatenate([-scale * start[..., :2] / start[..., 2:], 1 + 2 / start[..., 2:]], -1)
        last = np.concatenate([-scale * d[..., :2] / dz, np.ones_like(dz)], -1)
        return first, last

    def world(self, y: NDArray[np.floating]) -> NDArray[np.float64]:
        """World places (..., 3) of ones in normalised device coordinates."""
        z = depth(y[..., 2:])
        x = np.concatenate([-y[..., :2] * z / np.array(self.scale), z], -1)
        return np.asarray((x - self.frame[:, 3]) @ np.linalg.inv(self.frame[:, :3]).T)

    def world_slope(self, y: NDArray[np.floating], slope: NDArray[np.floating]) -> NDArray[np.float64]:
        """Slopes (..., 3) in normalised device coordinates, at y (..., 3), as ones in the world."""
        z = depth(y[..., 2:])
        xy = -np.array(self.scale) / z * slope[..., :2]
        along = -((y[..., :2] * slope[..., :2]).sum(-1, keepdims=True) + 2 * slope[..., 2:] / z) / z
        return np.asarray(np.concatenate([xy, along], -1) @ self.frame[:, :3])

    def constants(self) -> dict[str, int | float | tuple[float, ...]]:
        """As an asset stores it."""
        rows = {f"frame_{axis}": tuple(map(float, row)) for axis, row in zip("xyz", self.frame, strict=True)}
        return {"forward": 1, "ndc": (float(self.scale[0]), float(self.scale[1])), **rows}

    @staticmethod
    def of(constants: Mapping[str, object]) -> Ndc | None:
        """Inverse of ``constants``; None for rays that are not projected.

        Raises:
            InshaderError: one is missing or of another kind.
        """
        if constants.get("forward") not in (0, 1):
            raise InshaderError(f"the constant forward is {constants.get('forward')!r:.40}, expected 0 or 1")
        rows = [_vector(constants, name, 4) for name in ("frame_x", "frame_y", "frame_z")]
        scale = _vector(constants, "ndc", 2)
        frame = np.array(rows)
        if not constants["forward"]:
            return None
        if not (np.isfinite(frame).all() and abs(np.linalg.det(frame[:, :3])) > 1e-9 and min(scale) > 0):
            raise InshaderError("the constants frame_x, frame_y, frame_z and ndc are no frame of a camera")
        return Ndc(frame, (scale[0], scale[1]))


def depth(z: NDArray[np.floating]) -> NDArray[np.float64]:
    """z in the frame, from -1 on downwards, of one in normalised device coordinates, from -1 to 1."""
    return np.asarray(2 / (np.minimum(z, 1 - NEAREST_TO_INFINITY) - 1), np.float64)


def _vector(constants: Mapping[str, object], name: str, length: int) -> tuple[float, ...]:
    value = constants.get(name)
    if not isinstance(value, tuple) or len(value) != length:
        raise InshaderError(f"the constant {name} is {value!r:.40}, expected {length} numbers")
    return value
