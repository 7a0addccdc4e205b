"""Stage: what else stands in a scene with a neural object, in world units; light is linear.

Solids are spheres, planes, boxes, rectangles and triangle meshes, each of one material; spheres and
rectangles that emit are its lights. The asset keeps the numbers in its header and meshes and picture as
arrays, and all is checked when a stage is made, so that a stranger's cannot hurt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.errors import InshaderError

NEURAL = ("emitter", "albedo")
# By shape and by material: each number's name, its shape, and the range of its values.
REACH = 1e6
SHAPES: Mapping[str, Mapping[str, tuple[tuple[int, ...], float, float]]] = {
    "sphere": {"centre": ((3,), -REACH, REACH), "radius": ((), 1e-6, REACH)},
    "plane": {"point": ((3,), -REACH, REACH), "normal": ((3,), -REACH, REACH)},
    "box": {
        "centre": ((3,), -REACH, REACH),
        "axes": ((3, 3), -1.001, 1.001),
        "half_size": ((3,), 1e-6, REACH),
    },
    "rectangle": {"corner": ((3,), -REACH, REACH), "edges": ((2, 3), -REACH, REACH)},
    "mesh": {},
}
MATERIALS: Mapping[str, Mapping[str, tuple[tuple[int, ...], float, float]]] = {
    "diffuse": {"albedo": ((3,), 0, 1)},
    "metal": {"albedo": ((3,), 0, 1), "roughness": ((), 0, 1)},
    "glass": {"ior": ((), 0.25, 4), "tint": ((3,), 0, 1)},
    "emission": {"radiance": ((3,), 0, REACH)},
}
MAX_SOLIDS = 64
MAX_TRIANGLES = 1 << 20  # over all meshes
MAX_PICTURE = (1024, 2048)
Floats = NDArray[np.float32]
Tensor = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Solid:
    """One thing of one material.

    Attributes:
        shape, material: keys of ``SHAPES`` and ``MATERIALS``.
        geometry: centre and radius; point and normal; centre, axes (rows, orthonormal) and half_size; corner
            and two edges at right angles; nothing for a mesh.
        surface: albedo; albedo and roughness; ior and tint of what is let through; radiance.
        vertices, faces: of a mesh, (v, 3) and (f, 3).

    Raises:
        InshaderError: a number is missing, of the wrong shape, not finite or out of range.
    """

    shape: str
    geometry: Mapping[str, Floats]
    material: str
    surface: Mapping[str, Floats]
    vertices: Floats | None = None
    faces: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        if self.shape not in SHAPES or self.material not in MATERIALS:
            raise InshaderError(
                f"the stage holds a {self.shape!r:.40} of {self.material!r:.40}, expected one of "
                f"{', '.join(SHAPES)} of one of {', '.join(MATERIALS)}"
            )
        object.__setattr__(self, "geometry", _numbers(self.shape, SHAPES[self.shape], self.geometry))
        object.__setattr__(self, "surface", _numbers(self.material, MATERIALS[self.material], self.surface))
        if self.shape == "mesh":
            self._check_mesh()
        else:
            _check_shape(self.shape, self.geometry)

    @property
    def is_light(self) -> bool:
        """Whether it is sampled: what emits in other shapes is found by chance."""
        return self.material == "emission" and self.shape in ("sphere", "rectangle")

    def _check_mesh(self) -> None:
        vertices, faces = self.vertices, self.faces
        if vertices is None or faces is None:
            raise InshaderError("a mesh of the stage lacks its vertices or faces")
        if vertices.dtype != np.float32 or vertices.ndim != 2 or vertices.shape[1] != 3:
            raise InshaderError(f"a mesh of the stage has vertices {vertices.dtype} {vertices.shape}")
        if faces.dtype != np.int32 or faces.ndim != 2 or faces.shape[1] != 3:
            raise InshaderError(f"a mesh of the stage has faces {faces.dtype} {faces.shape}")
        if not 1 <= len(faces) <= MAX_TRIANGLES:
            raise InshaderError(
                f"a mesh of the stage has {len(faces)} triangles, expected 1 to {MAX_TRIANGLES}"
            )
        if not (np.abs(vertices) <= REACH).all():
            raise InshaderError("a mesh of the stage has vertices that are not finite")
        if faces.min() < 0 or faces.max() >= len(vertices):
            raise InshaderError(f"a mesh of the stage has faces beyond its {len(vertices)} vertices")


@dataclass(frozen=True, eq=False)
class Environment:
    """Light from far away.

    Attributes:
        top, bottom: (3,) radiance straight up and down, in between by the cosine; equal for one colour.
        picture: (h, w, 3) radiance in place of them: equirectangular, its top row straight up.
    """

    top: Floats = field(default_factory=lambda: np.zeros(3, np.float32))
    bottom: Floats = field(default_factory=lambda: np.zeros(3, np.float32))
    picture: Floats | None = None

    def __post_init__(self) -> None:
        ends = _numbers(
            "environment",
            {"top": ((3,), 0, REACH), "bottom": ((3,), 0, REACH)},
            {"top": self.top, "bottom": self.bottom},
        )
        object.__setattr__(self, "top", ends["top"])
        object.__setattr__(self, "bottom", ends["bottom"])
        picture = self.picture
        if picture is None:
            return
        fits = picture.dtype == np.float32 and picture.ndim == 3 and picture.shape[2] == 3
        if not fits or not (
            1 <= picture.shape[0] <= MAX_PICTURE[0] and 1 <= picture.shape[1] <= MAX_PICTURE[1]
        ):
            raise InshaderError(f"the picture of the environment is {picture.dtype} {picture.shape}")
        if not ((picture >= 0) & (picture <= REACH)).all():
            raise InshaderError("the picture of the environment holds values that are no radiance")


@dataclass(frozen=True, eq=False)
class Stage:
    """Solids, environment, and how the colour of the neural object is read.

    Attributes:
        neural: ``emitter``: it is the radiance that leaves the object, which lights the scene and receives
            nothing; ``albedo``: it is a diffuse albedo, and the object receives and passes on light.
    """

    solids: tuple[Solid, ...] = ()
    environment: Environment = field(default_factory=Environment)
    neural: str = "albedo"

    def __post_init__(self) -> None:
        if self.neural not in NEURAL:
            raise InshaderError(f"stage: neural is {self.neural!r:.40}, expected {' or '.join(NEURAL)}")
        if len(self.solids) > MAX_SOLIDS:
            raise InshaderError(f"the stage holds {len(self.solids)} solids, at most {MAX_SOLIDS} are drawn")
        triangles = sum(len(solid.faces) for solid in self.solids if solid.faces is not None)
        if triangles > MAX_TRIANGLES:
            raise InshaderError(f"the stage holds {triangles} triangles, at most {MAX_TRIANGLES} are drawn")

    def to_json(self) -> dict[str, Any]:
        """All but the arrays, which ``tensors`` has."""
        solids = [
            {
                "shape": solid.shape,
                "geometry": {name: value.tolist() for name, value in solid.geometry.items()},
                "material": solid.material,
                "surface": {name: value.tolist() for name, value in solid.surface.items()},
            }
            for solid in self.solids
        ]
        environment = self.environment
        ends = {"top": environment.top.tolist(), "bottom": environment.bottom.tolist()}
        picture = environment.picture is not None
        return {"solids": solids, "environment": {**ends, "picture": picture}, "neural": self.neural}

    def tensors(self) -> dict[str, Tensor]:
        """Arrays by name: ``vertices_<n>`` and ``faces_<n>`` of solid n, and ``environment``."""
        found: dict[str, Tensor] = {}
        for number, solid in enumerate(self.solids):
            if solid.vertices is not None and solid.faces is not None:
                found |= {f"vertices_{number}": solid.vertices, f"faces_{number}": solid.faces}
        if self.environment.picture is not None:
            found["environment"] = self.environment.picture
        return found


def stage_from_json(data: Any, tensors: Mapping[str, Tensor]) -> Stage:
    """Inverse of ``Stage.to_json`` and ``Stage.tensors``.

    Raises:
        InshaderError: something is missing, malformed or out of range.
    """
    try:
        if len(data["solids"]) > MAX_SOLIDS:
            raise InshaderError(
                f"the stage holds {len(data['solids'])} solids, at most {MAX_SOLIDS} are drawn"
            )
        solids = tuple(
            Solid(
                solid["shape"],
                solid["geometry"],
                solid["material"],
                solid["surface"],
                tensors.get(f"vertices_{number}"),
                tensors.get(f"faces_{number}"),
            )
            for number, solid in enumerate(data["solids"])
        )
        sky = data["environment"]
        picture = tensors.get("environment")
        if bool(sky["picture"]) != (picture is not None):
            raise InshaderError("the stage's environment and its picture do not fit together")
        return Stage(solids, Environment(sky["top"], sky["bottom"], picture), data["neural"])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InshaderError(f"the stage is malformed ({error!r:.200})") from error


def _numbers(
    what: str, wanted: Mapping[str, tuple[tuple[int, ...], float, float]], found: Mapping[str, Any]
) -> dict[str, Floats]:
    """``found`` as arrays, each checked."""
    if set(found) != set(wanted):
        raise InshaderError(f"a {what} of the stage has {sorted(found)!s:.80}, expected {sorted(wanted)}")
    numbers = {}
    for name, (shape, low, high) in wanted.items():
        value = np.array(found[name])
        if (
            value.dtype.kind not in "iuf"
            or value.shape != shape
            or not ((value >= low) & (value <= high)).all()
        ):
            count = "x".join(map(str, shape)) or "one"
            raise InshaderError(
                f"{name} of a {what} of the stage must be {count} number{'s' * bool(shape)} "
                f"from {low:g} to {high:g}, found {str(found[name])!s:.60}"
            )
        numbers[name] = value.astype(np.float32)
    return numbers


def _check_shape(shape: str, geometry: Mapping[str, Floats]) -> None:
    """What ranges alone do not tell."""
    if shape == "plane" and not np.linalg.norm(geometry["normal"]) > 1e-6:
        raise InshaderError("normal of a plane of the stage has no length")
    if shape == "box" and not np.allclose(geometry["axes"] @ geometry["axes"].T, np.eye(3), atol=1e-3):
        raise InshaderError("axes of a box of the stage are not at right angles")
    if shape == "rectangle":
        a, b = geometry["edges"].astype(np.float64)
        lengths = np.linalg.norm(a), np.linalg.norm(b)
        if not min(lengths) > 1e-6 or abs(a @ b) > 1e-3 * lengths[0] * lengths[1]:
            raise InshaderError("edges of a rectangle of the stage must have a length and a right angle")
