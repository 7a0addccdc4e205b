"""What lies over the picture: the line of state, the side panel, the help, and what there is to tell.

Each section of the panel is a function of the overlay and the session, which it reads and changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from viewer import keys, path_panel, scene_panel, scores, tracing
from viewer.fly import SPEEDS
from viewer.names import short_name
from viewer.orbit import FOVS
from viewer.overlay import Overlay
from viewer.resolution import LOWEST, scaled
from viewer.session import Session
from viewer.viewpoint import UPS

EDGE = 8  # units from the window's borders
WIDTH = 310
CHART_WIDTH = 260.0
OPACITY = 0.92
KEY_COLOUR = 0.55, 0.78, 1.0, 1.0
WARNING_COLOUR = 1.0, 0.72, 0.3, 1.0
STATE_HEIGHT, WARNING_HEIGHT = 30, 20  # of the line of state, with the gap below, and of what it warns of
EXPOSURES = -6.0, 6.0  # stops
MODE_TIPS = {
    "colour": "what the asset looks like",
    "depth": "distance along each ray; white is near",
    "normal": "the surface's normals: red, green and blue are x, y and z",
    "cost": "network evaluations for each pixel; white is many",
    "id": "which network draws a pixel",
    "pathtrace": "global illumination, sample by sample, by path tracing",
    "truth": "the picture that was taken from here; at held-out views",
    "error": "difference to the truth, the brighter the larger; at held-out views",
    "thickness": "length of each ray within the shell; white is long",
    "wire": "edges of the outer mesh, blue, and of the inner one, orange",
}


def show(overlay: Overlay, session: Session, size: tuple[int, int]) -> None:
    """Everything over the picture, within a frame of the overlay; ``size`` is the framebuffer's."""
    w, h = overlay.imgui.get_io().display_size
    path_panel.line(overlay.imgui, session)
    _state(overlay, session, size)
    if session.settings.panel:
        _panel(overlay, session, size, (w, h))
    if session.comparison.benchmark is not None and session.comparison.benchmark.results is not None:
        _results(overlay, session, (w, h))
    if session.help:
        _help(overlay, session, (w, h))
    show_notices(overlay, session.notices)


def show_notices(overlay: Overlay, lines: list[str]) -> None:
    """Lines in the bottom right corner, beside the panel."""
    if not lines:
        return
    imgui = overlay.imgui
    w, h = imgui.get_io().display_size
    imgui.set_next_window_pos((w - EDGE, h - EDGE), 0, (1, 1))
    imgui.set_next_window_bg_alpha(OPACITY)
    with overlay.window("notices", _plain(imgui)):
        imgui.push_text_wrap_pos(max(w - 4 * EDGE, 50))
        for line in lines:
            imgui.text_unformatted(line)
        imgui.pop_text_wrap_pos()


def show_in_the_middle(overlay: Overlay, lines: Sequence[str]) -> None:
    """Lines on an empty window."""
    imgui = overlay.imgui
    w, h = imgui.get_io().display_size
    imgui.set_next_window_pos((w / 2, h / 2), 0, (0.5, 0.5))
    with overlay.window("announced", _plain(imgui)):
        for line in lines:
            imgui.text_unformatted(line)


def state_line(session: Session, size: tuple[int, int]) -> str:
    """What is drawn now, in one line."""
    w, h = scaled(size, session.pace.scale)
    parts = [" | ".join(session.sides), f"{w} x {h} ({100 * session.pace.scale:.0f} %)"]
    if "error" in session.sides and session.viewpoint.standing is not None:
        camera = session.asset.held_out[session.viewpoint.standing]
        parts.append(f"error at {camera.w} x {camera.h}")
    if tracing.MODE in session.sides and session.tracer is not None:
        parts.append(f"{session.tracer.samples} samples")
    median = session.pace.times.percentile(50)
    if median:
        parts.append(f"{1 / median:.{0 if median < 0.1 else 1}f} fps")
    return "   ".join(parts)


def facts(session: Session) -> list[tuple[str, str]]:
    """What is known of the asset. Its results may come from a stranger: whatever is no number is left out."""
    asset = session.asset
    held = sum(tensor.nbytes for tensor in asset.tensors().values())
    rows = [
        ("family", asset.family),
        ("driver", f"{asset.driver}, {session.renderer.host} shader"),
        ("size", f"{held / 1e6:.2f} MB, {asset.precision}"),
        ("held-out views", f"{len(asset.held_out)}"),
    ]
    found = {
        "PSNR": _number(asset.results, "psnr", "baked"),
        "foreground": _number(asset.results, "psnr", "foreground"),
        "SSIM": _number(asset.results, "ssim", "baked"),
        "parity": _number(asset.results, "parity_db"),
    }
    for label, value in found.items():
        if value is not None:
            rows.append((label, f"{value:.4f}" if label == "SSIM" else f"{value:.2f} dB"))
    return rows


def speed_lines(session: Session) -> list[str]:
    """Times of the last frames and of the passes of one of them."""
    median, slow = session.pace.times.percentile(50), session.pace.times.percentile(95)
    if median is None or slow is None:
        lines = ["no frames yet: move the view"]
    else:
        lines = [
            f"{1e3 * median:.1f} ms median = {1 / median:.1f} fps",
            f"{1e3 * slow:.1f} ms p95 = {1 / slow:.1f} fps, over {len(session.pace.times)} frames",
        ]
    passes: Mapping[str, float] = session.pace.stats.get("ms", {})
    if passes:
        listed = ", ".join(f"{name} {ms:.1f}" for name, ms in passes.items())
        clock = "wall clock" if session.pace.stats["timer"] == "wall" else "the GPU's clock"
        lines.append(f"passes: {listed} ms by {clock}")
        lines.append(f"{session.pace.stats['evaluations_per_pixel']:.2f} evaluations a pixel")
    return lines


# --- the side panel --------------------------------------------------------------------------------------


def _panel(overlay: Overlay, session: Session, size: tuple[int, int], display: tuple[float, float]) -> None:
    imgui = overlay.imgui
    top = EDGE + STATE_HEIGHT + (WARNING_HEIGHT if session.pictures.warning is not None else 0)
    room = max(display[1] - top - EDGE, 40)
    imgui.set_next_window_pos((EDGE, top))
    imgui.set_next_window_size_constraints((WIDTH, 0), (WIDTH, room))
    imgui.set_next_window_bg_alpha(OPACITY)
    flags = imgui.WindowFlags_
    fixed = flags.no_title_bar | flags.no_move | flags.no_saved_settings | flags.no_resize
    with overlay.window("panel", fixed | flags.always_auto_resize):
        imgui.push_item_width(150)
        _assets(imgui, session)
        for label, tip, is_open, draw in sections(overlay, session, size):
            flags = imgui.TreeNodeFlags_
            shown = imgui.collapsing_header(label, flags.default_open if is_open else flags.none)
            _tip(imgui, tip)
            if shown:
                draw()
        imgui.pop_item_width()


Section = tuple[str, str, bool, Callable[[], None]]


def sections(overlay: Overlay, session: Session, size: tuple[int, int]) -> Iterator[Section]:
    """What the panel holds for this asset: name, tip, whether it is open at first, and what draws it."""
    imgui, log = overlay.imgui, session.log
    if log is not None and (log.curves or log.live):
        run = overlay.run
        run.begun = run.begun or log.live
        yield "Training", "how it goes, or went", run.begun, lambda: run.show(imgui, log, CHART_WIDTH)
    yield "Picture", "what is shown, and how", True, lambda: _picture(imgui, session)
    if tracing.MODE in (session.mode, session.other):
        yield "Light", "path tracing", True, lambda: scene_panel.light(imgui, session)
    yield "Camera", "from where it is looked at", True, lambda: _camera(imgui, session)
    yield "Comparison", "two modes at once, and the truth", True, lambda: scores.section(imgui, session)
    if session.puppeteer.able:
        yield (
            *("Deformation", "twist, bend or drop the shell", False),
            lambda: scene_panel.deformation(imgui, session),
        )
    yield (
        *("Camera path", "keys, and the way between them", bool(session.path.keys)),
        lambda: path_panel.camera_path(imgui, session, size),
    )
    yield "Output", "screenshots and films", False, lambda: path_panel.written(imgui, session, size)
    yield "Speed", "times, and the benchmark", False, lambda: _speed(imgui, session)
    yield "Asset", "what is known of it", False, lambda: _facts(imgui, session)


def _assets(imgui: Any, session: Session) -> None:
    imgui.separator_text("Assets")
    for index, (name, _) in enumerate(session.assets):
        # what follows ## tells apart what has the same label
        picked, _ = imgui.selectable(f"{short_name(name)}##{index}", index == session.index)
        _tip(imgui, f"show {name} (N: the next one; drop a file to open it)")
        if picked:
            session.choose(index)


def _picture(imgui: Any, session: Session) -> None:
    for place, mode in enumerate(session.modes):
        if place % 4:
            imgui.same_line()
        if imgui.radio_button(mode, mode == session.mode):
            session.set_mode(mode)
        key = next((number for number, name in keys.NUMBERED.items() if name == mode), "")
        _tip(imgui, f"{MODE_TIPS.get(mode, mode)} (key {key})")

    settings = session.settings
    changed, auto = imgui.checkbox("automatic resolution", settings.auto)
    _tip(imgui, "fewer pixels while the view moves, to hold the frame rate below; all of them at rest")
    if changed:
        session.settings = replace(settings, auto=auto)
    if auto:
        changed, fps = imgui.slider_float(
            "frames a second", settings.target_fps, 5, 144, "%.0f", _always(imgui)
        )
        _tip(imgui, "the rate that the automatic resolution holds")
        if changed:
            session.settings = replace(session.settings, target_fps=fps)
    else:
        percent = round(100 * settings.scale)
        changed, percent = imgui.slider_int(
            "resolution", percent, round(100 * LOWEST), 100, "%d %%", _always(imgui)
        )
        _tip(imgui, "pixels drawn along each side, of those the window has")
        if changed:
            session.settings = replace(session.settings, scale=percent / 100)

    changed, exposure = imgui.slider_float(
        "exposure", session.exposure, *EXPOSURES, "%+.1f stops", _always(imgui)
    )
    _tip(imgui, "brightness of the colours shown: each stop doubles the light")
    if changed:
        session.exposure = exposure
    changed, own = imgui.checkbox("background", session.background is not None)
    _tip(imgui, "another background than the asset's own")
    if changed:
        red, green, blue = session.asset.background.tolist()
        session.background = (red, green, blue) if own else None
    if session.background is not None:
        imgui.same_line()
        no_inputs = imgui.ColorEditFlags_.no_inputs
        changed, rgb = imgui.color_edit3("##background", list(session.background), no_inputs)
        _tip(imgui, "choose the background's colour")
        if changed:
            session.background = rgb[0], rgb[1], rgb[2]
    if session.renderer.crops:
        scene_panel.crop(imgui, session)


def _camera(imgui: Any, session: Session) -> None:
    if not session.viewpoint.flat:
        for label, flying, tip in (
            ("orbit", False, "a drag turns about the scene (key F)"),
            ("fly", True, "W A S D Q E move, a drag looks around (key F)"),
        ):
            if flying:
                imgui.same_line()
            if imgui.radio_button(label, session.viewpoint.flying == flying):
                session.viewpoint.set_flying(flying)
            _tip(imgui, tip)
        imgui.same_line()
    if imgui.button("reset"):
        session.viewpoint.reset()
    _tip(imgui, "back to the first view (key R)")
    if session.asset.held_out:
        for label, step, tip in (("<", -1, "the held-out view before (key [)"), (">", 1, "next (key ])")):
            imgui.same_line()
            if imgui.button(label):
                session.viewpoint.jump(step)
            _tip(imgui, tip)
        imgui.same_line()
        place = "-" if session.viewpoint.held_out is None else str(session.viewpoint.held_out + 1)
        imgui.text_disabled(f"{place} / {len(session.asset.held_out)}")

    degrees = math.degrees(session.viewpoint.view.fov_y)
    low, high = map(math.degrees, FOVS)
    changed, inertia = imgui.checkbox("inertia", session.settings.inertia)
    _tip(imgui, "a drag that is let go of in motion goes on for a while")
    if changed:
        session.settings = replace(session.settings, inertia=inertia)
    changed, degrees = imgui.slider_float("field of view", degrees, low, high, "%.0f degrees", _always(imgui))
    _tip(imgui, "the angle between the lower and the upper edge of the picture")
    if changed:
        session.viewpoint.set_fov(math.radians(degrees))
    if session.viewpoint.flying:
        logarithmic = imgui.SliderFlags_.logarithmic
        changed, speed = imgui.slider_float("speed", session.settings.speed, *SPEEDS, "%.2f", logarithmic)
        _tip(imgui, "of flying, in world units a second; the wheel changes it, shift is faster")
        if changed:
            session.settings = replace(session.settings, speed=min(max(speed, SPEEDS[0]), SPEEDS[1]))
    if not session.viewpoint.flat:
        choices = [None, *UPS]
        names = ["the asset's", *UPS]
        changed, index = imgui.combo("up axis", choices.index(session.viewpoint.up), names)
        _tip(imgui, "the direction that is up in the picture")
        if changed:
            session.viewpoint.set_up(choices[index])


def _speed(imgui: Any, session: Session) -> None:
    session.look()
    imgui.push_text_wrap_pos(0)
    for line in speed_lines(session):
        imgui.text_unformatted(line)
    imgui.pop_text_wrap_pos()
    changed, continuous = imgui.checkbox("draw all the time", session.settings.continuous)
    _tip(imgui, "draw frame after frame, to measure; else only when something changes")
    if changed:
        session.settings = replace(session.settings, continuous=continuous)
    scores.benchmark_button(imgui, session)


def _facts(imgui: Any, session: Session) -> None:
    if imgui.begin_table("facts", 2, imgui.TableFlags_.sizing_fixed_fit):
        for label, value in facts(session):
            imgui.table_next_row()
            imgui.table_next_column()
            imgui.text_disabled(label)
            imgui.table_next_column()
            imgui.text_unformatted(value)
        imgui.end_table()
    if imgui.button("help"):
        session.help = not session.help
    _tip(imgui, "all keys and gestures (key H or ?)")
    imgui.same_line()
    if imgui.button("hide"):
        session.settings = replace(session.settings, panel=False)
    _tip(imgui, "hide this panel; Tab brings it back")


# --- the rest --------------------------------------------------------------------------------------------


def _state(overlay: Overlay, session: Session, size: tuple[int, int]) -> None:
    imgui = overlay.imgui
    imgui.set_next_window_pos((EDGE, EDGE))
    imgui.set_next_window_bg_alpha(OPACITY)
    with overlay.window("state", _plain(imgui)):
        imgui.text_unformatted(state_line(session, size))
        if session.pictures.warning is not None:
            imgui.text_colored(WARNING_COLOUR, session.pictures.warning)


def _results(overlay: Overlay, session: Session, display: tuple[float, float]) -> None:
    imgui = overlay.imgui
    imgui.set_next_window_pos((display[0] - EDGE, EDGE), 0, (1, 0))
    imgui.set_next_window_bg_alpha(OPACITY)
    flags = imgui.WindowFlags_
    fixed = flags.no_title_bar | flags.no_move | flags.no_resize | flags.no_saved_settings
    with overlay.window("benchmark", fixed | flags.always_auto_resize):
        scores.show_results(imgui, session)


def _help(overlay: Overlay, session: Session, display: tuple[float, float]) -> None:
    imgui = overlay.imgui
    w, h = display
    imgui.set_next_window_pos((w / 2, h / 2), 0, (0.5, 0.5))
    imgui.set_next_window_size_constraints((0, 0), (w - 2 * EDGE, h - 2 * EDGE))
    imgui.set_next_window_bg_alpha(1.0)
    flags = imgui.WindowFlags_
    fixed = flags.no_title_bar | flags.no_move | flags.no_resize | flags.no_saved_settings
    with overlay.window("help", fixed | flags.always_auto_resize):
        if imgui.begin_table("keys", 2, imgui.TableFlags_.sizing_fixed_fit):
            for label, tells in keys.rows():
                imgui.table_next_row()
                imgui.table_next_column()
                imgui.text_colored(KEY_COLOUR, label)
                imgui.table_next_column()
                imgui.text_unformatted(tells)
            imgui.end_table()
        if imgui.button("close"):
            session.help = False
        _tip(imgui, "close this help (key H, ? or Esc)")


def _plain(imgui: Any) -> int:
    """Flags of a window that only shows something."""
    flags = imgui.WindowFlags_
    return int(flags.no_decoration | flags.no_inputs | flags.always_auto_resize | flags.no_saved_settings)


def _always(imgui: Any) -> int:
    """Flags of a slider whose range also holds for what is typed."""
    return int(imgui.SliderFlags_.always_clamp)


def _tip(imgui: Any, text: str) -> None:
    """A tooltip on what was shown last."""
    imgui.set_item_tooltip(text)


def _number(results: Any, *path: str) -> float | None:
    for key in path:
        results = results.get(key) if isinstance(results, Mapping) else None
    if isinstance(results, bool) or not isinstance(results, (int, float)) or not abs(results) < 1e6:
        return None
    return float(results)
