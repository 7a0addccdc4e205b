"""Radiance pictures (.hdr): linear colour with one exponent for the three channels of a pixel.

Source: Ward, "Real Pixels", Graphics Gems II, 1991, and the file format of Radiance's reference manual; run
lengths of 1991 on, which every writer of today uses, or none.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAX_PIXELS = 1 << 28


def read_rgbe(path: Path) -> NDArray[np.float32]:
    """(h, w, 3) float32, linear.

    Raises:
        ValueError: truncated, damaged, or XYZE in place of RGBE.
    """
    data = path.read_bytes()
    if not data.startswith((b"#?RADIANCE", b"#?RGBE")):
        raise ValueError("it does not begin with #?RADIANCE")
    head, _, rest = data.partition(b"\n\n")
    if b"FORMAT=32-bit_rle_xyze" in head:
        raise ValueError("its colours are XYZ, save it as RGBE")
    size, _, pixels = rest.partition(b"\n")
    found = re.fullmatch(rb"-Y (\d{1,6}) \+X (\d{1,6})", size)
    if found is None:
        raise ValueError(f"its size line is {size[:40]!r}, expected -Y height +X width")
    h, w = int(found[1]), int(found[2])
    if not 0 < w * h <= MAX_PIXELS:
        raise ValueError(f"{w}x{h} pixels")
    rows, at = np.empty((h, w, 4), np.uint8), 0
    for j in range(h):
        if 8 <= w < 1 << 15 and pixels[at : at + 4] == bytes([2, 2, w >> 8, w & 255]):
            channels, at = _runs(pixels, at + 4, 4 * w)
            rows[j] = np.frombuffer(channels, np.uint8).reshape(4, w).T
        else:
            rows[j] = np.frombuffer(pixels, np.uint8, 4 * w, at).reshape(w, 4)
            at += 4 * w
    # Mantissas stand for the middle of their interval; exponent 0 is black.
    scale = np.where(rows[..., 3:] > 0, np.ldexp(np.float32(1), rows[..., 3:].astype(np.int32) - 136), 0)
    return np.asarray((rows[..., :3] + np.float32(0.5)) * scale, np.float32)


def _runs(data: bytes, at: int, length: int) -> tuple[bytes, int]:
    """``length`` bytes from runs that begin at ``at``, and where the runs end."""
    out = bytearray()
    while len(out) < length:
        count = data[at] if at < len(data) else 0
        run = data[at + 1 : at + 2] * (count - 128) if count > 128 else data[at + 1 : at + 1 + count]
        if not run:
            raise ValueError("the file ends early")
        out += run
        at += 2 if count > 128 else 1 + count
    if len(out) > length:
        raise ValueError("a run is longer than its row")
    return bytes(out), at
