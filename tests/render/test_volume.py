"""Distances to the nearest set cell: brute force, and the GLSL that reads them."""

from __future__ import annotations

import moderngl
import numpy as np

from render.occupancy import leaps
from render.probe import run
from render.volume_glsl import emit, lay_out


def test_distances_are_chebyshev() -> None:
    volume = np.random.default_rng(0).random((9, 7, 12)) < 0.01
    cells = np.argwhere(volume)
    everywhere = np.argwhere(np.ones_like(volume))
    wanted = np.abs(everywhere[:, None] - cells).max(-1).min(1).reshape(volume.shape)
    assert np.array_equal(leaps(volume), wanted)


def test_distances_end() -> None:
    volume = np.zeros((100, 2, 2), bool)
    assert (leaps(volume, 9) == 9).all()
    volume[0, 0, 0] = True
    found = leaps(volume, 9)
    assert found[:, 1, 1].tolist() == [1, *range(1, 9), *[9] * 91]
    assert found[:, 0, 0].tolist() == [*range(9), *[9] * 91]


def test_glsl_reads_every_cell(ctx: moderngl.Context) -> None:
    volume = np.random.default_rng(0).random((5, 6, 7)) < 0.02
    buffer = ctx.buffer(lay_out(volume).tobytes())
    buffer.bind_to_storage_buffer(5)
    code = (
        "layout(std430, binding = 5) readonly buffer volume_words { uint words[]; };\n"
        "uint v_word(uint i) { return words[i]; }\n" + emit(volume.shape, "v")
    )
    cells = np.argwhere(np.ones_like(volume))
    call = "d[0] = vec4(v_distance(ivec3(c[0].xyz)), v_size);"
    found = run(ctx, code, call, {"c": cells}, {"d": 4})["d"]
    assert np.array_equal(found[:, 0], leaps(volume).ravel())
    assert (found[:, 1:] == volume.shape).all()
    buffer.release()
