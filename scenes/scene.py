"""A scene file: which data, how long to train, which family, and the options of each family.

YAML is read by ``scenes.document`` and checked here. Sections that belong to a family (``gaussian_rbf: ...``)
are kept as plain mappings: this package does not know the families, ``training`` checks the one it uses.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from render.errors import InshaderError
from scenes.document import parse_yaml, read_document
from scenes.section import Section
from scenes.stage import Stage

SECTIONS = ("data", "train", "stage")
NAMED_BACKGROUNDS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}

Colour = tuple[float, float, float]
Box = tuple[tuple[float, float, float], tuple[float, float, float]]


def _numbers(value: Any, count: int) -> tuple[float, ...]:
    """``count`` finite numbers from a YAML list; raises ValueError otherwise."""
    if not isinstance(value, (list, tuple)) or len(value) != count:
        raise ValueError
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) or not abs(v) < 1e30 for v in value):
        raise ValueError
    return tuple(float(v) for v in value)


def _background(value: Any) -> str | Colour:
    if isinstance(value, str) and value in NAMED_BACKGROUNDS:
        return value
    try:
        r, g, b = _numbers(value, 3)
        if all(0 <= v <= 1 for v in (r, g, b)):
            return r, g, b
    except ValueError:
        pass
    raise ValueError("expected white, black or three numbers in 0..1 such as [0.2, 0.3, 0.4]")


def _bounds(value: Any) -> str | Box:
    if value == "auto":
        return "auto"
    try:
        low, high = (_numbers(corner, 3) for corner in value)
        if all(a < b for a, b in zip(low, high, strict=True)):
            return (low[0], low[1], low[2]), (high[0], high[1], high[2])
    except (TypeError, ValueError):
        pass
    raise ValueError("expected auto or two corners, the lower first, such as [[-1, -1, -1], [1, 1, 1]]")


class Data(Section):
    """Where the pictures come from."""

    format: Literal[
        "auto",
        "blender",
        "dtu",
        "transforms",
        "llff",
        "colmap",
        "nsvf",
        "procedural",
        "mesh",
        "surface",
        "picture",
    ] = Field(default="auto", description="auto looks at what lies at path")
    path: str | None = Field(
        default=None, description="folder or mesh file, from here or from the scene file"
    )
    max_size: int | None = Field(
        default=None,
        ge=8,
        le=16384,
        description="longest side in pixels; larger pictures are area-filtered down",
    )
    background: Annotated[Literal["white", "black"] | Colour, BeforeValidator(_background)] = Field(
        default="white", description="what pictures with alpha are composited on"
    )
    bounds: Annotated[Literal["auto"] | Box, BeforeValidator(_bounds)] = Field(
        default="auto", description="scene box in source units; auto carves it from alpha"
    )
    subject: Literal["still_life", "fluff"] = Field(
        default="still_life", description="what is rendered (procedural)"
    )
    train_views: int = Field(default=100, ge=1, le=2000, description="pictures to render (procedural, mesh)")
    test_views: int = Field(
        default=20, ge=1, le=2000, description="held-out ones to render (procedural, mesh, surface)"
    )
    up: Literal["x", "y", "z"] = Field(default="y", description="which axis of a mesh points up")


class Train(Section):
    """How long to train: ``seconds`` or ``steps``; with neither the family decides."""

    seconds: float | None = Field(
        default=None, gt=0, le=1e7, description="budget over all stages, in seconds"
    )
    steps: int | None = Field(default=None, ge=1, le=10**9, description="optimiser steps over all stages")
    preset: str = Field(default="default", description="a named set of options that the family offers")

    @model_validator(mode="after")
    def _one_budget(self) -> Train:
        if self.seconds is not None and self.steps is not None:
            raise ValueError("seconds and steps are both set, expected one of them")
        return self


class Scene(Section):
    """A validated scene.

    Attributes:
        families: options of each family under the family's name, unchecked: plain mappings of plain values.
    """

    name: str = Field(min_length=1, max_length=200, description="default: the scene file's stem")
    family: str = Field(default="gaussian_rbf", min_length=1, max_length=100)
    seed: int = Field(default=0, ge=0, lt=2**32)
    data: Data = Data()
    train: Train = Train()
    stage: Stage | None = Field(default=None, description="what else stands in the scene, for path tracing")
    families: dict[str, dict[str, Any]] = Field(default_factory=dict)

    _folder: Path | None = PrivateAttr(None)

    @field_validator("name", "family")
    @classmethod
    def _printable(cls, value: str, info: ValidationInfo) -> str:
        # The name becomes a folder under runs/, the family a module: neither may lead elsewhere.
        if not value.isprintable() or "/" in value or "\\" in value or value.startswith("."):
            raise ValueError("expected a printable name without / or \\ that does not begin with a dot")
        return value

    @property
    def data_path(self) -> Path | None:
        """``data.path`` from the current folder; where nothing lies there, from the scene file's.

        Raises:
            InshaderError: as ``find``.
        """
        return None if self.data.path is None else self.find(self.data.path, "data.path")

    def find(self, text: str, key: str = "path") -> Path:
        """A path of this file from the current folder; where nothing lies there, from the scene file's.

        Raises:
            InshaderError: it lies in the home folder of somebody unknown; the message names ``key``.
        """
        path = expanded(text, key)
        if self._folder is not None and not path.exists() and (self._folder / path).exists():
            return self._folder / path
        return path

    def resolved(self) -> dict[str, Any]:
        """Every key with its value, as plain YAML-able data; ``load_scene`` on it gives an equal scene."""
        document = self.model_dump(mode="json", exclude={"families", "stage"})
        if self.stage is not None:
            document["stage"] = self.stage.model_dump(mode="json", exclude_none=True)
        return {**document, **self.families}


def bundled_scenes() -> dict[str, Path]:
    """Name -> file of the scenes that come with the package."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}


def load_scene(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Scene:
    """Read a scene file, or the bundled scene of that name, and apply ``dotted.key=value`` overrides.

    Raises:
        InshaderError: a mistake in the file or an override; the message names key and nearest known one.
    """
    path = _find_scene(str(name_or_path))
    document = read_document(path)
    changed = apply_overrides(document, overrides)
    document.setdefault("name", path.stem)
    try:
        scene = Scene.model_validate(_split_families(document))
    except ValidationError as error:
        key, text = _first_mistake(error)
        raise InshaderError(f"{_origin(path, changed, key)}: {text}") from error
    except _KeyMistakeError as error:
        raise InshaderError(f"{_origin(path, changed, error.key)}: {error}") from error
    scene._folder = path.parent
    return scene


def expanded(text: str, what: str) -> Path:
    """A path that may begin with ``~`` or ``~user``."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        home = text.split("/")[0][:100]
        raise InshaderError(
            f"{what} {text[:200]!r}: nobody knows the home folder {home!r}, expected another path"
        ) from error


def _find_scene(name: str) -> Path:
    path, bundled = expanded(name, "scene"), bundled_scenes()
    try:
        if path.is_file():
            return path
        is_folder = path.is_dir()
    except (OSError, ValueError) as error:
        raise InshaderError(f"scene {name[:200]!r}: {error}") from error
    if name in bundled:
        return bundled[name]
    near = difflib.get_close_matches(name, bundled, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    found = "is a folder, not a scene file" if is_folder else "is neither a file nor a bundled scene"
    raise InshaderError(f"scene {name[:200]!r} {found} (bundled: {', '.join(bundled)}){hint}")


# Overrides ------------------------------------------------------------------------------------------------


def apply_overrides(document: dict[str, Any], overrides: Sequence[str]) -> dict[str, str]:
    """Set ``dotted.key=value`` in place; returns dotted key -> override as typed.

    A budget of one kind replaces the file's of the other, so that ``train.steps=10`` works on any scene.

    Raises:
        InshaderError: no ``=``, an empty key, a value that is no YAML, or a key below a plain value.
    """
    changed: dict[str, str] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts) or len(parts) > 8:
            raise InshaderError(
                f"override {override[:200]!r}: expected dotted.key=value such as train.steps=500"
            )
        value = parse_yaml(text, f"override {override[:200]!r}")
        section: Any = document
        for depth, part in enumerate(parts[:-1]):
            if section.get(part) is None:
                section[part] = {}
            section = section[part]
            if not isinstance(section, dict):
                above = ".".join(parts[: depth + 1])
                raise InshaderError(
                    f"override {override[:200]!r}: {above} is a value, it has no keys below it"
                )
        section[parts[-1]] = value
        changed[".".join(parts)] = override[:200]
    for key, other in (("train.seconds", "steps"), ("train.steps", "seconds")):
        if key in changed and f"train.{other}" not in changed:
            document["train"].pop(other, None)
    return changed


def _origin(path: Path, changed: Mapping[str, str], key: str) -> str:
    """Who wrote ``key``: an override, where one touches it, else the file."""
    for dotted, override in changed.items():
        if key == dotted or key.startswith(f"{dotted}.") or dotted.startswith(f"{key}."):
            return f"override {override!r}"
    return str(path)


# Messages -------------------------------------------------------------------------------------------------


class _KeyMistakeError(Exception):
    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


def _suggest(key: str, known: Sequence[str], prefix: str = "") -> str:
    """`` (did you mean a.b?)``, or the list of what is known where nothing is near."""
    near = difflib.get_close_matches(key, known, 1, cutoff=0.5)
    if near:
        return f"did you mean {prefix}{near[0]}?"
    return f"known: {', '.join(prefix + name for name in known)}"


def _split_families(document: Mapping[str, Any]) -> dict[str, Any]:
    """Move every unknown top-level mapping under ``families``; anything else unknown is a mistake."""
    known = [name for name in Scene.model_fields if name != "families"]
    sections: dict[str, Any] = {"families": {}}
    for key, value in document.items():
        if key in known:
            sections[key] = {} if value is None and key in SECTIONS else value
        elif not isinstance(value, dict):
            what = f"{key} is not a known key, nor a family's section (which holds keys of its own)"
            raise _KeyMistakeError(key, f"{what}; {_suggest(key, known)}")
        elif difflib.get_close_matches(key, SECTIONS, 1, cutoff=0.7):
            # A misspelt section must not pass silently as the section of a family nobody asked for.
            raise _KeyMistakeError(key, f"{key} is not a known section; {_suggest(key, SECTIONS)}")
        else:
            sections["families"][key] = value
    return sections


def _section_at(place: tuple[int | str, ...]) -> type[BaseModel]:
    """The section that stands at a place of a scene file."""
    section: type[BaseModel] = Scene
    for key in place:
        if isinstance(key, str) and key in section.model_fields:
            found = section.model_fields[key].annotation
            section = next((kind for kind in _kinds(found) if issubclass(kind, Section)), section)
    return section


def _kinds(annotation: Any) -> list[type[Any]]:
    """The classes that an annotation such as ``tuple[A, ...] | None`` names."""
    if isinstance(annotation, type) and not get_args(annotation):
        return [annotation]
    return [kind for part in get_args(annotation) for kind in _kinds(part)]


def _first_mistake(error: ValidationError) -> tuple[str, str]:
    """Dotted key and one line about the first thing that does not validate; a key that is not known explains
    others that are missing, so it comes first."""
    errors = error.errors(include_url=False)
    first = next((found for found in errors if found["type"] == "extra_forbidden"), errors[0])
    parts = [str(part) for part in first["loc"]]
    prefix = "".join(f"{part}." for part in parts[:-1])
    key = ".".join(parts)
    if first["type"] == "extra_forbidden":
        known = list(_section_at(first["loc"][:-1]).model_fields)
        return key, f"{key} is not a known key; {_suggest(parts[-1], known, prefix)}"
    text = first["msg"].removeprefix("Value error, ")
    if first["type"] in ("model_type", "dict_type"):
        text = "expected keys of its own"
    found = repr(first["input"])
    if key in ("data.background", "data.bounds") or not isinstance(first["input"], dict):
        text = f"{text}; found {found if len(found) < 60 else found[:57] + '...'}"
    return key, f"{key}: {text[:1].lower()}{text[1:]}"
