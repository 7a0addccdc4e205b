"""YAML from a stranger as plain values: no tags, aliases or duplicate keys, bounded size and depth."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from render.errors import InshaderError

MAX_BYTES = 1 << 20
MAX_DEPTH = 16

_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")}


def _mistake(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


class _Loader(yaml.SafeLoader):
    """``SafeLoader`` without what scene files do not need: aliases (and their bombs), tags, merge keys."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise _mistake("aliases (*name) are not accepted", mark)
        if self.depth >= MAX_DEPTH:
            raise _mistake(f"nested more than {MAX_DEPTH} deep", mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node is not None and node.tag not in _TAGS:
            raise _mistake(f"the tag {node.tag} is not accepted", mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str" or not key.value:
                raise _mistake("a key is not a word", key.start_mark)
            if key.value in seen:
                problem = f"the key {key.value} is given twice"
                raise _mistake(problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _decimal(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node), 10)  # 010 is ten, not eight


# YAML 1.2's core schema: with PyYAML's 1.1 rules 1e-3 would be a word, 1:30 a number and no a truth value.
_NUMBER = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
_Loader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in (
    ("bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", "[-+]?[0-9]{1,18}", "-+0123456789"),
    ("float", rf"{_NUMBER}|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+.0123456789"),
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _decimal)


def parse_yaml(text: str, where: str) -> Any:
    """One YAML document as dicts, lists and plain finite values.

    Raises:
        InshaderError: ``where`` does not hold a YAML document of that kind.
    """
    try:
        value = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark, text = error.problem_mark, ", ".join(filter(None, (error.context, error.problem)))
        at = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise InshaderError(f"{where}: {text}{at}") from error
    except yaml.YAMLError as error:
        raise InshaderError(f"{where}: not YAML: {error}") from error
    except (ValueError, LookupError, RecursionError) as error:  # an explicit tag on a value it does not fit
        raise InshaderError(f"{where}: not YAML: {error}") from error
    _check_finite(value, where)
    return value


def read_document(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds; an empty file is an empty mapping.

    Raises:
        InshaderError: the file cannot be read, is too large, or is not a YAML mapping.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise InshaderError(f"{path}: larger than {MAX_BYTES} bytes, not a scene file")
        text = data.decode("utf-8")
    except OSError as error:
        raise InshaderError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InshaderError(f"{path}: not UTF-8 (byte {error.start}), expected a YAML scene file") from error
    value = parse_yaml(text, str(path))
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InshaderError(f"{path}: holds a {type(value).__name__}, expected key: value lines")
    return value


def _check_finite(value: Any, where: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise InshaderError(f"{where}: {value} is not a finite number")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_finite(item, where)
