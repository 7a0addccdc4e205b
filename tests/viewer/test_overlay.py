"""Windows of text, drawn into a framebuffer without any window of the system."""

from __future__ import annotations

import moderngl
import numpy as np
import pytest

from viewer.overlay import Overlay


def draw(overlay: Overlay, text: str, size: tuple[int, int], scale: float = 1.0) -> None:
    with overlay.frame(size, scale, 1 / 60) as imgui:
        imgui.set_next_window_pos((8, 8))
        flags = imgui.WindowFlags_
        with overlay.window("test", flags.no_decoration | flags.always_auto_resize):
            imgui.text_unformatted(text)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_text_appears_in_the_corner(ctx: moderngl.Context, scale: float) -> None:
    size = 320, 200
    target = ctx.simple_framebuffer(size)
    target.use()  # a scope goes back to what was bound before it, which an earlier test may have released
    _ = ctx.error  # reading it clears what an earlier test of the run left behind
    overlay = Overlay(ctx)
    pictures = []
    for text in ("", "60.0 fps", "Žluťoučký 99.9 %s %n"):  # the last needs glyphs that come with an update
        for _ in range(2):  # a panel takes the size of its text one frame later
            with ctx.scope(target):
                target.clear(0.0, 0.5, 0.0)
                draw(overlay, text, size, scale)
        data = target.read(components=3, alignment=1)
        pictures.append(np.frombuffer(data, np.uint8).reshape(200, 320, 3)[::-1].astype(int))
    overlay.release()
    target.release()
    empty, first, second = pictures
    green = np.array([0, 128, 0])
    assert np.abs(first[-80:] - green).max() <= 1, "the lower part stays as it was"
    for picture in (first, second):
        assert (picture[:80].min(-1) > 160).sum() > 40 * scale, "there is bright text"
        assert np.abs(picture - green).max(-1).sum() > np.abs(empty - green).max(-1).sum()
    assert (first != second).any()
    assert ctx.error == "GL_NO_ERROR"
    assert not overlay.textures


def test_overlays_come_and_go(ctx: moderngl.Context) -> None:
    target = ctx.simple_framebuffer((64, 64))
    for _ in range(2):
        overlay = Overlay(ctx)
        with ctx.scope(target):
            draw(overlay, "x", (64, 64))
        overlay.release()
    target.release()


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_the_pointer_belongs_to_windows_where_they_lie(ctx: moderngl.Context, scale: float) -> None:
    size = 320, 200
    target = ctx.simple_framebuffer(size)
    overlay = Overlay(ctx)
    with ctx.scope(target):
        assert not overlay.covers(12, 12), "nothing is there before the first frame"
        for _ in range(2):
            draw(overlay, "some text", size, scale)
    assert overlay.covers(12, 12)
    assert not overlay.covers(4, 4)
    assert not overlay.covers(12, 90)
    overlay.release()
    target.release()


def test_letters_and_editing_keys_reach_a_field(ctx: moderngl.Context) -> None:
    target = ctx.simple_framebuffer((320, 200))
    overlay = Overlay(ctx)
    text, place = "", (0.0, 0.0)

    def frame() -> None:
        nonlocal text, place
        with ctx.scope(target), overlay.frame((320, 200), 1.0, 1 / 60) as imgui, overlay.window("test"):
            _, text = imgui.input_text("field", text)
            (left, top), (_, bottom) = imgui.get_item_rect_min(), imgui.get_item_rect_max()
            place = left + 10, (top + bottom) / 2

    for _ in range(3):
        frame()
    assert not overlay.typing
    overlay.pointer(*place)
    overlay.button(0, True)
    overlay.button(0, False)
    for _ in range(4):
        frame()
    assert overlay.typing
    for letter in "abc":
        overlay.character(ord(letter))
    for name in ("BACKSPACE", "no such key"):
        overlay.key(name, True)
        overlay.key(name, False)
    for _ in range(6):
        frame()
    assert text == "ab"
    overlay.release()
    target.release()
