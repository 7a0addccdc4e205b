from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from render.errors import InshaderError
from scenes.images import read_image
from scenes.png16 import SIGNATURE

rng = np.random.default_rng(0)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encoded(pixels: np.ndarray, filters: list[int], interlace: int = 0, clear: tuple[int, ...] = ()) -> bytes:
    """A 16-bit PNG whose rows use these filters in turn, as the specification defines them; ``clear`` is a
    transparent colour."""
    h, w, channels = pixels.shape
    rows = pixels.astype(">u2").reshape(h, -1).view(np.uint8).astype(int)
    step, body = 2 * channels, b""
    for j, row in enumerate(rows):
        kind = filters[j % len(filters)]
        line = []
        for i, value in enumerate(row):
            a = row[i - step] if i >= step else 0
            b = rows[j - 1][i] if j else 0
            c = rows[j - 1][i - step] if j and i >= step else 0
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            line.append((value - (0, a, b, (a + b) // 2, paeth)[kind]) % 256)
        body += bytes([kind, *line])
    head = struct.pack(">IIBBBBB", w, h, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, interlace)
    parts = [chunk(b"IDAT", part) for part in (zlib.compress(body)[:20], zlib.compress(body)[20:])]
    parts[:0] = [chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear))] if clear else []
    return SIGNATURE + chunk(b"IHDR", head) + b"".join(parts) + chunk(b"IEND", b"")


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("filters", [[0], [1], [2], [3], [4], [4, 3, 2, 1, 0]])
def test_every_filter(tmp_path: Path, channels: int, filters: list[int]) -> None:
    pixels = rng.integers(0, 65536, (6, 5, channels)).astype(np.uint16)
    path = tmp_path / "deep.png"
    path.write_bytes(encoded(pixels, filters))
    got = read_image(path)
    assert got.dtype == np.uint16
    if channels == 2:
        pixels = pixels[..., [0, 0, 0, 1]]
    assert (got == pixels).all()


def test_damage_is_told(tmp_path: Path) -> None:
    data = encoded(rng.integers(0, 65536, (6, 5, 3)).astype(np.uint16), [4])
    path = tmp_path / "deep.png"
    damaged = bytearray(data)
    damaged[60] ^= 1
    huge = data[:16] + struct.pack(">II", 1 << 30, 1 << 30) + data[24:]
    for content in (
        data[:70],
        data[:-30],
        bytes(damaged),
        huge,
        encoded(np.zeros((2, 2, 3)), [0], interlace=1),
    ):
        path.write_bytes(content)
        with pytest.raises(InshaderError, match=r"deep\.png"):
            read_image(path)
