"""The last step to the screen, for modes whose numbers are no colours."""

from __future__ import annotations

import moderngl
import numpy as np
import pytest

from viewer.screen import Screen


def shown(ctx: moderngl.Context, values: np.ndarray, size: tuple[int, int], mode: str) -> np.ndarray:
    """Values (h, w, 4), row 0 at the top, as they are shown at ``size``: (h, w, 3) uint8, likewise."""
    h, w = values.shape[:2]
    texture = ctx.texture((w, h), 4, values.astype("f4").tobytes(), dtype="f4")
    target = ctx.simple_framebuffer(size)
    screen = Screen(ctx)
    screen.show(texture, target, size, mode)
    rows = np.frombuffer(target.read(), np.uint8).reshape(size[1], size[0], 3)[::-1]
    for item in (screen, texture, target):
        item.release()
    return rows


@pytest.mark.parametrize("size", [(4, 2), (12, 6)])
def test_network_ids_are_told_apart(ctx: moderngl.Context, size: tuple[int, int]) -> None:
    """Each number has a colour of its own, none is black, and enlarging mixes nothing."""
    numbers = np.float32([[-1, 0, 1, 2], [700, 701, 1400, -1]])
    values = np.stack([numbers] * 3 + [(numbers >= 0).astype(np.float32)], -1)
    picture = shown(ctx, values, size, "id")
    scale = size[0] // 4
    cells = picture.reshape(2, scale, 4, scale, 3).transpose(0, 2, 1, 3, 4).reshape(8, -1, 3)
    assert (cells == cells[:, :1]).all()
    colours = [tuple(map(int, cell[0])) for cell in cells]
    assert colours[0] == colours[7] == (0, 0, 0)
    assert len(set(colours[1:7])) == 6 and all(min(colour) > 40 for colour in colours[1:7])
