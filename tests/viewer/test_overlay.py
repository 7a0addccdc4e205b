"""The text panel, drawn into a framebuffer without any window."""

from __future__ import annotations

import moderngl
import numpy as np
import pytest

from viewer.overlay import Overlay


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_text_appears_in_the_corner(ctx: moderngl.Context, scale: float) -> None:
    size = 320, 200
    target = ctx.simple_framebuffer(size)
    target.use()  # a scope goes back to what was bound before it, which an earlier test may have released
    _ = ctx.error  # reading it clears what an earlier test of the run left behind
    overlay = Overlay(ctx)
    pictures = []
    for text in ("", "60.0 fps", "Žluťoučký 99.9"):  # the last needs glyphs that come with a later update
        for _ in range(2):  # a panel takes the size of its text one frame later
            with ctx.scope(target):
                target.clear(0.0, 0.5, 0.0)
                overlay.draw([text] if text else [], size, scale, 1 / 60)
        data = target.read(components=3, alignment=1)
        pictures.append(np.frombuffer(data, np.uint8).reshape(200, 320, 3)[::-1].astype(int))
    overlay.release()
    target.release()
    empty, first, second = pictures
    green = np.array([0, 128, 0])
    assert np.abs(first[-80:] - green).max() <= 1, "the lower part stays as it was"
    for picture in (first, second):
        assert (picture[:80].min(-1) > 180).sum() > 60 * scale, "there is bright text"
        assert np.abs(picture - green).max(-1).sum() > np.abs(empty - green).max(-1).sum()
    assert (first != second).any()
    assert ctx.error == "GL_NO_ERROR"
    assert not overlay.textures


def test_overlays_come_and_go(ctx: moderngl.Context) -> None:
    target = ctx.simple_framebuffer((64, 64))
    for _ in range(2):
        overlay = Overlay(ctx)
        with ctx.scope(target):
            overlay.draw(["x"], (64, 64), 1.0, 0.1)
        overlay.release()
    target.release()
