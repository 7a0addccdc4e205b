"""The key ``stage`` of a scene file: what else stands in the scene when paths are traced.

Coordinates are those of the data set's own frame, as its files have them; ``read_stage`` brings them into the
world. Colours and radiances are linear. Angles are degrees about x, then y, then z (a choice).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from render.errors import InshaderError
from scenes.section import Section

MAX_OBJECTS = 32  # and as many lights
MAX_TRIANGLES = 1 << 20
PICTURE_SIZE = 512  # longest side of the environment's picture, to which it is area-filtered
REACH = 1e6
Tensor = NDArray[Any]

Number = Annotated[float, Field(ge=-REACH, le=REACH)]
Positive = Annotated[float, Field(gt=0, le=REACH)]
Share = Annotated[float, Field(ge=0, le=1)]
Vector = tuple[Number, Number, Number]
Albedo = tuple[Share, Share, Share]
Radiance = tuple[
    Annotated[float, Field(ge=0, le=REACH)],
    Annotated[float, Field(ge=0, le=REACH)],
    Annotated[float, Field(ge=0, le=REACH)],
]


class Sphere(Section):
    centre: Vector
    radius: Positive


class Plane(Section):
    """All points level with ``point``."""

    point: Vector
    normal: Vector

    @model_validator(mode="after")
    def _has_a_direction(self) -> Plane:
        if not np.linalg.norm(self.normal) > 1e-6:
            raise ValueError("normal has no length, expected such as [0, 0, 1]")
        return self


class Box(Section):
    """From ``low`` to ``high``, then turned about its middle."""

    low: Vector
    high: Vector
    rotation: Vector = (0, 0, 0)

    @model_validator(mode="after")
    def _has_a_volume(self) -> Box:
        if not all(low < high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError("expected low below high along every axis")
        return self


class Mesh(Section):
    """A file that trimesh reads, scaled, turned about its origin, then moved."""

    path: str = Field(min_length=1, description="from here or from the scene file")
    scale: Positive = 1.0
    rotation: Vector = (0, 0, 0)
    translation: Vector = (0, 0, 0)


class Rectangle(Section):
    """``corner`` and the two edges that leave it, at right angles."""

    corner: Vector
    edges: tuple[Vector, Vector]

    @model_validator(mode="after")
    def _has_right_angles(self) -> Rectangle:
        a, b = np.asarray(self.edges, np.float64)
        lengths = np.linalg.norm(a), np.linalg.norm(b)
        if not min(lengths) > 0 or abs(a @ b) > 1e-3 * lengths[0] * lengths[1]:
            raise ValueError("expected two edges at right angles, such as [[1, 0, 0], [0, 1, 0]]")
        return self


class Diffuse(Section):
    albedo: Albedo = (0.6, 0.6, 0.6)


class Metal(Section):
    albedo: Albedo = (0.9, 0.9, 0.9)
    roughness: Share = Field(default=0.0, description="0 is a mirror")


class Glass(Section):
    ior: float = Field(default=1.5, ge=0.25, le=4, description="refractive index")
    tint: Albedo = Field(default=(1, 1, 1), description="of what every passage of the surface lets through")


class Emission(Section):
    radiance: Radiance


SHAPES = ("sphere", "plane", "box", "mesh")
MATERIALS = ("diffuse", "metal", "glass", "emission")


def _the_one(section: Section, names: tuple[str, ...], what: str) -> str:
    """The one of ``names`` that is set; ValueError unless it is exactly one."""
    given = [name for name in names if getattr(section, name) is not None]
    if len(given) != 1:
        raise ValueError(f"has {' and '.join(given) or 'no ' + what}, expected one of {', '.join(names)}")
    return given[0]


class Object(Section):
    """One shape of one material."""

    sphere: Sphere | None = None
    plane: Plane | None = None
    box: Box | None = None
    mesh: Mesh | None = None
    diffuse: Diffuse | None = None
    metal: Metal | None = None
    glass: Glass | None = None
    emission: Emission | None = None

    @model_validator(mode="after")
    def _is_one_thing(self) -> Object:
        _the_one(self, SHAPES, "shape")
        _the_one(self, MATERIALS, "material")
        return self


class Light(Section):
    """An area that emits; a rectangle does so on both sides."""

    sphere: Sphere | None = None
    rectangle: Rectangle | None = None
    radiance: Radiance

    @model_validator(mode="after")
    def _is_one_shape(self) -> Light:
        _the_one(self, ("sphere", "rectangle"), "shape")
        return self


class Environment(Section):
    """Light from far away: a ``colour``, a gradient from ``top`` to ``bottom``, or a ``picture``."""

    colour: Radiance | None = None
    top: Radiance | None = None
    bottom: Radiance | None = None
    picture: str | None = Field(default=None, description="equirectangular .hdr or .exr")
    strength: float = Field(default=1.0, ge=0, le=REACH, description="what its radiance is multiplied with")

    @model_validator(mode="after")
    def _is_one_kind(self) -> Environment:
        if (self.top is None) != (self.bottom is None):
            raise ValueError("has one of top and bottom, expected both")
        _the_one(self, ("colour", "top", "picture"), "light")
        return self


class Stage(Section):
    """Everything in a scene but its data."""

    neural: Literal["emitter", "albedo"] = Field(
        default="albedo", description="what the object's colour is: light that leaves it, or what it reflects"
    )
    environment: Environment = Environment(colour=(0.5, 0.5, 0.5))
    objects: tuple[Object, ...] = Field(default=(), max_length=MAX_OBJECTS)
    lights: tuple[Light, ...] = Field(default=(), max_length=MAX_OBJECTS)


# Reading --------------------------------------------------------------------------------------------------


def read_stage(
    stage: Stage, world_from_source: NDArray[np.float64], find: Callable[[str], Path]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The stage in world units, as ``render.stage.stage_from_json`` takes it: plain values, and arrays by
    name.

    Args:
        world_from_source: (4, 4) similarity.
        find: where a path of the scene file leads.

    Raises:
        InshaderError: a mesh or picture cannot be read, or is too large.
    """
    solids: list[dict[str, Any]] = []
    tensors: dict[str, Tensor] = {}
    for number, thing in enumerate(stage.objects):
        material = _the_one(thing, MATERIALS, "material")
        surface = getattr(thing, material).model_dump(mode="json")
        shape = _the_one(thing, SHAPES, "shape")
        geometry = {} if thing.mesh is not None else _geometry(getattr(thing, shape), world_from_source)
        if thing.mesh is not None:
            vertices, faces = _mesh(find(thing.mesh.path), thing.mesh, world_from_source)
            tensors |= {f"vertices_{number}": vertices, f"faces_{number}": faces}
        solids.append({"shape": shape, "geometry": geometry, "material": material, "surface": surface})
    for light in stage.lights:
        shape = _the_one(light, ("sphere", "rectangle"), "shape")
        geometry = _geometry(getattr(light, shape), world_from_source)
        surface = {"radiance": list(light.radiance)}
        solids.append({"shape": shape, "geometry": geometry, "material": "emission", "surface": surface})
    sky = stage.environment
    ends = [end or sky.colour or (0.0, 0.0, 0.0) for end in (sky.top, sky.bottom)]
    top, bottom = (np.multiply(end, sky.strength).tolist() for end in ends)
    if sky.picture is not None:
        tensors["environment"] = _picture(find(sky.picture), sky.strength)
    environment = {"top": top, "bottom": bottom, "picture": sky.picture is not None}
    return {"solids": solids, "environment": environment, "neural": stage.neural}, tensors


def _geometry(shape: Section, world_from_source: NDArray[np.float64]) -> dict[str, Any]:
    """The numbers of a shape in the world."""
    linear, shift = world_from_source[:3, :3], world_from_source[:3, 3]
    scale = float(np.cbrt(abs(np.linalg.det(linear))))

    def moved(point: Any) -> NDArray[np.float64]:
        return linear @ np.asarray(point, np.float64) + shift

    match shape:
        case Sphere():
            found: dict[str, Any] = {"centre": moved(shape.centre), "radius": scale * shape.radius}
        case Plane():
            found = {"point": moved(shape.point), "normal": linear @ np.asarray(shape.normal) / scale}
        case Rectangle():
            found = {"corner": moved(shape.corner), "edges": np.asarray(shape.edges) @ linear.T}
        case Box():
            low, high = np.asarray(shape.low, np.float64), np.asarray(shape.high, np.float64)
            axes = (linear / scale @ _rotation(shape.rotation)).T
            found = {"centre": moved((low + high) / 2), "axes": axes, "half_size": scale * (high - low) / 2}
    return {name: np.asarray(value).tolist() for name, value in found.items()}


def _rotation(degrees: Vector) -> NDArray[np.float64]:
    """About x, then y, then z."""
    turned = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        turned = turn @ turned
    return turned


def _mesh(
    path: Path, mesh: Mesh, world_from_source: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Vertices in the world (v, 3) and faces (f, 3), which run anticlockwise seen from outside."""
    from scenes.mesh import read_surfaces

    if not path.is_file():
        raise InshaderError(f"stage: there is no {path}, expected a mesh")
    surfaces = read_surfaces(path, "z", textured=False)
    offsets = np.cumsum([0, *(len(surface.vertices) for surface in surfaces)])
    vertices = np.concatenate([surface.vertices for surface in surfaces]).astype(np.float64)
    faces = np.concatenate([part.faces + start for part, start in zip(surfaces, offsets, strict=False)])
    if len(faces) > MAX_TRIANGLES:
        raise InshaderError(f"{path}: {len(faces)} triangles, a stage takes at most {MAX_TRIANGLES}")
    linear, shift = world_from_source[:3, :3], world_from_source[:3, 3]
    vertices = mesh.scale * vertices @ _rotation(mesh.rotation).T + mesh.translation
    vertices = vertices @ linear.T + shift
    if not (np.abs(vertices) <= REACH).all():
        raise InshaderError(f"{path}: a vertex lies more than {REACH:g} away")
    if np.linalg.det(linear) < 0:
        faces = faces[:, ::-1]
    return vertices.astype(np.float32), np.ascontiguousarray(faces, np.int32)


def _picture(path: Path, strength: float) -> NDArray[np.float32]:
    """Radiance (h, w, 3) of an equirectangular picture, at most ``PICTURE_SIZE`` wide."""
    from scenes.picture import read_picture
    from scenes.scene import Data, Scene

    if path.suffix.lower() not in (".hdr", ".exr"):
        raise InshaderError(f"stage.environment.picture: {path} holds no radiance, expected .hdr or .exr")
    if not path.is_file():
        raise InshaderError(f"stage.environment.picture: there is no {path}")
    picture = read_picture(path, Scene(name="environment", data=Data(max_size=PICTURE_SIZE))).test.images[0]
    radiance = picture[..., :3] * picture[..., 3:] if picture.shape[2] == 4 else picture
    if radiance.shape[0] > radiance.shape[1]:
        raise InshaderError(
            f"{path}: {radiance.shape[1]}x{radiance.shape[0]} is upright, expected twice as wide as high"
        )
    return np.asarray(np.minimum(radiance * np.float32(strength), REACH), np.float32)
