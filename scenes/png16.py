"""PNG with 16 bits a channel in colour, which Pillow reads as 8 bits without a word.

Source: PNG specification, third edition, sections 9 (filtering) and 11.2 (IHDR).
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {2: 3, 4: 2, 6: 4}  # colour types RGB, grey + alpha, RGBA; plain grey (0) Pillow reads in full
MAX_PIXELS = 1 << 28


def is_deep_png(path: Path) -> bool:
    """Whether the file is a PNG of 16-bit colour."""
    with path.open("rb") as file:
        head = file.read(29)
    return len(head) == 29 and head[:8] == SIGNATURE and head[24] == 16 and head[25] in CHANNELS


def read_deep_png(path: Path) -> NDArray[np.uint16]:
    """(h, w, 2 | 3 | 4) uint16.

    Raises:
        ValueError: truncated, damaged or interlaced.
    """
    data = path.read_bytes()
    w, h, _, kind, _, _, interlace = struct.unpack(">IIBBBBB", data[16:29])
    if interlace:
        raise ValueError("interlaced 16-bit PNG, save it without interlacing")
    if not 0 < w * h <= MAX_PIXELS:
        raise ValueError(f"{w}x{h} pixels")
    bytes_per_pixel = 2 * CHANNELS[kind]
    length = h * (1 + w * bytes_per_pixel)
    raw = zlib.decompressobj().decompress(b"".join(_image_chunks(data)), length)
    if len(raw) != length:
        raise ValueError(f"{len(raw)} bytes of picture, expected {length}")
    rows = np.frombuffer(raw, np.uint8).reshape(h, -1)
    pixels = _unfilter(rows, bytes_per_pixel)  # (h, w * bytes_per_pixel)
    return pixels.view(">u2").astype(np.uint16).reshape(h, w, CHANNELS[kind])


def _image_chunks(data: bytes) -> list[bytes]:
    """The contents of all IDAT chunks, their checksums compared."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        end = at + 8 + length
        if end + 4 > len(data):
            break
        if kind == b"IDAT":
            if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
                raise ValueError("a checksum differs")
            chunks.append(data[at + 8 : end])
        elif kind == b"IEND":
            return chunks
        at = end + 4
    raise ValueError("the file ends early")


def _unfilter(rows: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Undo the filter of each row (its first byte); ``step`` is the bytes of a pixel."""
    if int(rows[:, 0].max()) > 4:
        raise ValueError("an unknown row filter")
    h, n = rows.shape[0], rows.shape[1] - 1
    pixels = np.zeros((h + 1, n + step), np.uint8)  # a row above and a pixel to the left of zeros
    for j in range(h):
        kind, row, above, here = rows[j, 0], rows[j, 1:], pixels[j], pixels[j + 1]
        if kind == 0:
            here[step:] = row
        elif kind == 1:
            here[step:] = np.cumsum(row.reshape(-1, step), 0, np.uint8).reshape(-1)
        elif kind == 2:
            here[step:] = row + above[step:]
        else:
            _unfilter_sequential(int(kind), row.tolist(), above.tolist(), here, step)
    return np.ascontiguousarray(pixels[1:, step:])


def _unfilter_sequential(
    kind: int, row: list[int], above: list[int], here: NDArray[np.uint8], step: int
) -> None:
    """Average (3) and Paeth (4): each byte needs the one before it."""
    out = [0] * step
    for i, value in enumerate(row):
        left, up, corner = out[i], above[i + step], above[i]
        if kind == 3:
            guess = (left + up) >> 1
        else:
            to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
            guess = (
                left if to_left <= to_up and to_left <= to_corner else up if to_up <= to_corner else corner
            )
        out.append((value + guess) & 255)
    here[step:] = out[step:]
