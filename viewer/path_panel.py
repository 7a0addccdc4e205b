"""Parts of what lies over the picture: the camera path, and what is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

from render.camera import Camera
from viewer import marks, output
from viewer.path import GAPS, LINE
from viewer.session import Session
from viewer.settings import LARGEST

KEYS_HEIGHT = 92.0  # of the list of keys, units of the desktop
LINE_COLOUR, KEY_COLOUR, CHOSEN_COLOUR = 0xFFFFC080, 0xFFFFE0C0, 0xFF40A0FF  # alpha, blue, green, red


def camera_path(imgui: Any, session: Session, size: tuple[int, int]) -> None:
    """The list of keys, and what is done to the one that is selected."""
    path = session.path
    camera = session.viewpoint.camera(size)
    if imgui.button("add key"):
        path.add(camera)
    imgui.set_item_tooltip("put the camera as it stands into the path, after the selected key (key K)")
    if not path.keys:
        imgui.same_line()
        imgui.text_disabled("no keys yet")
        return
    if path.selected is not None:
        _selected(imgui, session, camera)
    if imgui.begin_child("keys", (0, min(KEYS_HEIGHT, 22.0 * len(path.keys) + 8))):
        for index, t in enumerate(path.times[: len(path.keys)]):
            picked, _ = imgui.selectable(f"key {index + 1}   {t:.1f} s", index == path.selected)
            imgui.set_item_tooltip("go there and select it; selected once more it is let go")
            if picked:
                path.selected = None if index == path.selected else index
                if path.selected is not None:
                    path.playing, path.time = False, t
                    session.show_path()
    imgui.end_child()
    _shape(imgui, session)
    _preview(imgui, session)


def _selected(imgui: Any, session: Session, camera: Camera) -> None:
    path = session.path
    changes: tuple[tuple[str, Callable[[], None], str], ...] = (
        ("here", lambda: path.replace(camera), "move the selected key to where the camera is"),
        ("delete", path.remove, "take the selected key out of the path"),
        ("up", lambda: path.shift(-1), "pass the selected key earlier"),
        ("down", lambda: path.shift(1), "pass the selected key later"),
    )
    for label, change, tip in changes:
        imgui.same_line()
        if imgui.button(label):
            change()
        imgui.set_item_tooltip(tip)
    if path.selected is None:
        return
    clamped = imgui.SliderFlags_.always_clamp
    changed, gap = imgui.drag_float(
        "to the next", path.gaps[path.selected], 0.05, *GAPS, "%.1f seconds", clamped
    )
    imgui.set_item_tooltip("how long the way from the selected key to the next one takes")
    if changed:
        path.set_gap(gap)


def _shape(imgui: Any, session: Session) -> None:
    path = session.path
    changed, loop = imgui.checkbox("loop", path.loop)
    imgui.set_item_tooltip("from the last key back to the first one")
    if changed:
        path.set_shape(loop, path.tension)
    imgui.same_line()
    changed, spline = imgui.checkbox("spline", path.tension is not None)
    imgui.set_item_tooltip("a smooth curve through the keys, else straight from key to key")
    if changed:
        path.set_shape(path.loop, 0.0 if spline else None)
    if path.tension is not None:
        imgui.same_line()
        imgui.set_next_item_width(90)
        clamped = imgui.SliderFlags_.always_clamp
        changed, tension = imgui.slider_float("tension", path.tension, 0.0, 1.0, "%.2f", clamped)
        imgui.set_item_tooltip("0: round; 1: it halts at every key")
        if changed:
            path.set_shape(path.loop, tension)


def _preview(imgui: Any, session: Session) -> None:
    path = session.path
    if imgui.button("stop preview" if path.playing else "preview"):
        path.play(not path.playing)
    imgui.set_item_tooltip("see what the film will show (space bar)")
    imgui.same_line()
    clamped = imgui.SliderFlags_.always_clamp
    changed, t = imgui.slider_float("##time", path.time, 0.0, max(path.seconds, 0.1), "%.1f s", clamped)
    imgui.set_item_tooltip("where along the path the preview is")
    if changed:
        path.playing, path.time = False, min(t, path.seconds)
        session.show_path()
    imgui.same_line()
    if imgui.button("clear"):
        path.clear()
    imgui.set_item_tooltip("take all keys out of the path")


def written(imgui: Any, session: Session, size: tuple[int, int]) -> None:
    """Screenshots, films and paths, and their size."""
    settings = session.settings
    own = bool(settings.width and settings.height)
    changed, own = imgui.checkbox("size of its own", own)
    imgui.set_item_tooltip("write in a size of its own, else in that of the window, or a multiple of it")
    if changed:
        w, h = size if own else (0, 0)
        session.settings = settings = replace(settings, width=min(w, LARGEST), height=min(h, LARGEST))
    imgui.same_line()
    imgui.set_next_item_width(110)
    if own:
        changed, sides = imgui.input_int2("pixels", [settings.width, settings.height])
        imgui.set_item_tooltip(f"width and height of what is written, up to {LARGEST}")
        if changed:
            w, h = (min(max(side, 1), LARGEST) for side in sides)
            session.settings = replace(settings, width=w, height=h)
    else:
        changed, multiple = imgui.input_int("times", settings.multiple)
        imgui.set_item_tooltip("size of what is written as a multiple of the window's, 1 to 4")
        if changed:
            session.settings = replace(settings, multiple=min(max(multiple, 1), 4))
    w, h = session.settings.written(size)
    if session.take is not None:
        _under_way(imgui, session)
        return
    if imgui.button("screenshot"):
        session.tasks.attempt(lambda: output.screenshot(session, size, output.here()))
    imgui.set_item_tooltip(f"write the picture, {w} x {h} pixels, into the current folder (key P)")
    imgui.same_line()
    changed, exr = imgui.checkbox("as numbers (.exr)", session.settings.exr)
    imgui.set_item_tooltip(
        "screenshots as .exr: linear light and coverage, or depth, normals and costs as they are; "
        "without exposure and another background"
    )
    if changed:
        session.settings = replace(session.settings, exr=exr)
    if imgui.button("film"):
        session.tasks.attempt(lambda: output.film(session, size, output.here()))
    imgui.set_item_tooltip(
        f"write a video (.mp4), {w - w % 2} x {h - h % 2} pixels, of the camera path, "
        "or once around where it has no keys, with all that is seen now"
    )
    imgui.same_line()
    if imgui.button("path as JSON"):
        session.tasks.attempt(lambda: output.save_path(session, size, output.here()))
    imgui.set_item_tooltip(
        "write the camera path, or where it has no keys the camera, for render-export --camera; "
        "dropped on the window it is opened again"
    )


def _under_way(imgui: Any, session: Session) -> None:
    take = session.take
    assert take is not None
    imgui.progress_bar(take.done / max(take.total, 1), (150, 0), f"{take.done} of {take.total}")
    imgui.set_item_tooltip(take.told)
    imgui.same_line()
    if imgui.button("cancel"):
        session.cancel()
    imgui.set_item_tooltip("give it up; nothing is written (Esc)")


def line_shown(session: Session) -> bool:
    """Whether the path is drawn into the picture."""
    shown = session.settings.panel and len(session.path.keys) > 0 and not session.path.playing
    return shown and session.take is None and not session.comparison.measuring


def line(imgui: Any, session: Session) -> None:
    """The path in the picture, as it lies in the scene, and its keys."""
    path = session.path
    built = path.built((256, 256)) if line_shown(session) else None
    if built is None:
        return
    canvas, camera = imgui.get_background_draw_list(), marks.window_camera(imgui, session)
    if len(path.keys) > 1:
        places = [one.position for one in built.spread(LINE)]
        marks.add_lines(canvas, camera, pairwise(places), LINE_COLOUR, 2.0)
    for index, place in enumerate(marks.projected(camera, [key.position for key in path.keys])):
        if place is not None:
            colour = CHOSEN_COLOUR if index == path.selected else KEY_COLOUR
            canvas.add_circle_filled(place, 5.0, colour)
            canvas.add_text((place[0] + 7, place[1] - 8), colour, f"{index + 1}")
