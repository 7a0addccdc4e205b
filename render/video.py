"""Pictures as an .mp4 file: H.264 in 8 bits, which every player knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.errors import InshaderError, require
from render.files import replacing
from render.pictures import eight_bits

CODEC, QUALITY = "libx264", "18"  # by the encoder's constant rate factor: what is lost is hardly seen
BT709, SRGB, LIMITED = 1, 13, 1  # matrix and primaries, transfer, and range in ITU-T H.273


def write_video(
    path: Path, pictures: Iterable[NDArray[Any] | None], size: tuple[int, int], fps: int
) -> Iterator[int]:
    """Write ``path``, whole or not at all: a step for each picture gives their number so far.

    Whoever stops before the end closes the iterator, and nothing is left behind.

    Args:
        pictures: (h, w, 3) display colours in [0, 1], or 8-bit ones; None: a step without one.
        size: (w, h) of all of them.

    Raises:
        InshaderError: a side is odd, or there is no PyAV or no encoder.
        OSError: the file cannot be written.
    """
    w, h = size
    if w % 2 or h % 2:
        raise InshaderError(
            f"a video of {w}x{h} pixels: colours have half the resolution in it, so both sides must be even, "
            f"such as {w + w % 2}x{h + h % 2}"
        )
    av = require("av", "video")
    with replacing(path) as temporary:
        try:
            yield from _encode(av, temporary, pictures, size, fps)
        except av.error.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            raise InshaderError(f"{path}: the video cannot be encoded: {error}") from error


def _encode(
    av: Any, path: Path, pictures: Iterable[NDArray[Any] | None], size: tuple[int, int], fps: int
) -> Iterator[int]:
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream(CODEC, rate=fps, options={"crf": QUALITY})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        coding = stream.codec_context
        coding.colorspace = coding.color_primaries = BT709
        coding.color_trc, coding.color_range = SRGB, LIMITED
        container.start_encoding()  # a path that cannot be written is known before anything is drawn
        number = 0
        for picture in pictures:
            if picture is None:
                yield number
                continue
            number += 1
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(eight_bits(picture)), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709")))
            yield number
        container.mux(stream.encode())
