"""The named assets that a window can show, and the files that they come from."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from render.asset import BakedAsset, asset_path, read_asset
from render.errors import InshaderError
from viewer.names import version

WATCH = 1.0  # seconds between looks at whether a file has been replaced


class Library:
    """Assets in the order in which they were opened.

    Attributes:
        entries: name, as it was given, and asset.
        awaited: names of runs that have no asset yet.
    """

    def __init__(self, entries: Sequence[tuple[str, BakedAsset]], awaited: Iterable[str] = ()) -> None:
        self.entries, self.awaited = list(entries), list(awaited)
        self._looked = time.monotonic()
        self._versions = {name: version(name) for name, _ in entries}

    def read(self, name: str) -> tuple[str, BakedAsset]:
        """The entry of a file or a run folder.

        Raises:
            InshaderError: it holds no asset.
        """
        path = asset_path(name)
        self._versions[name] = version(name)  # before it is read: what comes later is seen later
        if path.suffix != ".safetensors":  # anything may be dropped, also what is too large to be read
            raise InshaderError(f"{name}: not a .safetensors file")
        return name, read_asset(path)

    def is_file(self, name: str) -> bool:
        """Whether it is one that there is."""
        return version(name) is not None

    def put(self, entry: tuple[str, BakedAsset]) -> int:
        """Its place: that of another of its name, or the last."""
        known = [index for index, (name, _) in enumerate(self.entries) if name == entry[0]]
        if known:
            self.entries[known[0]] = entry
            return known[0]
        self.entries.append(entry)
        return len(self.entries) - 1

    def replaced(self, shown: str) -> list[str]:
        """Names to be read anew: ``shown``, where its file is another one, and runs that have an asset now.

        Each is named once, also where what is there turns out to be no asset.
        """
        now = time.monotonic()
        if now - self._looked < WATCH:
            return []
        self._looked = now
        found = []
        for name in (shown, *self.awaited):
            there = version(name)
            if there is not None and there != self._versions.get(name):
                self._versions[name] = there
                found.append(name)
        self.awaited = [name for name in self.awaited if name not in found]
        return found
