"""Parts of the side panel: what is done to the scene. Cropped, lit by path tracing, deformed."""

from __future__ import annotations

from typing import Any

from render.animation import SHAPES
from viewer import marks, tracing
from viewer.puppet import ANGLES, AXES
from viewer.session import Session

BOX_COLOUR = 0xFF40A0FF  # alpha, blue, green, red
DEFORMATION_TIPS = {
    "none": "the shell as it was learnt",
    "twist": "turned, the more the further from its foot",
    "bend": "bent into an arc",
    "soft": "a soft body that falls onto a floor",
}


def crop(imgui: Any, session: Session) -> None:
    """A box that the picture is cropped to: two ends along each axis. Its edges are drawn while the pointer
    is on one of them."""
    box = session.crop
    changed, on = imgui.checkbox("crop box", box.on)
    imgui.set_item_tooltip("show only what lies within a box along the axes of the world (key X)")
    if changed:
        box.set(on)
    if not box.on:
        return
    seen = False
    for axis, name in enumerate("xyz"):
        low, high = box.ends(axis)
        least, most = box.reach(axis)
        changed, low, high = imgui.drag_float_range2(
            name,
            low,
            high,
            (most - least) / 300,
            least,
            most,
            "%.2f",
            "%.2f",
            imgui.SliderFlags_.always_clamp,
        )
        seen = seen or imgui.is_item_active() or imgui.is_item_hovered()
        imgui.set_item_tooltip(f"from where to where along {name}, in world units: drag either number")
        if changed:
            box.set_ends(axis, low, high)
    if seen:
        camera = marks.window_camera(imgui, session)
        marks.add_lines(imgui.get_background_draw_list(), camera, box.edges, BOX_COLOUR, 1.5)


def light(imgui: Any, session: Session) -> None:
    """Of the mode that traces paths."""
    tracer = session.tracer
    if tracer is None:
        imgui.text_disabled("compiling ...")
        return
    if session.crop.box is not None:
        imgui.text_disabled("light goes beyond the crop box")
    share = min(tracer.samples / tracer.wanted, 1.0)
    imgui.progress_bar(share, (150, 0), f"{tracer.samples} samples")
    imgui.set_item_tooltip("samples of a pixel that have come together; a change of the view begins anew")
    imgui.same_line()
    changed, denoise = imgui.checkbox("denoise", tracer.denoise)
    imgui.set_item_tooltip("filter the noise out of the picture; what is gathered stays as it is")
    if changed:
        tracer.denoise = denoise
    changed, wanted = imgui.input_int("samples wanted", tracer.wanted, 64, 256)
    imgui.set_item_tooltip("where the picture is done: twice as many halve the noise's variance")
    if changed:
        tracer.wanted = min(max(wanted, 1), tracing.MOST)


def deformation(imgui: Any, session: Session) -> None:
    """Of a shell."""
    puppet = session.puppeteer.puppet
    kind = "none" if puppet is None else puppet.kind
    for place, (name, tip) in enumerate(DEFORMATION_TIPS.items()):
        if place:
            imgui.same_line()
        if imgui.radio_button(name, name == kind):
            session.puppeteer.deform(kind=name)
        imgui.set_item_tooltip(tip)
    if puppet is None:
        return
    if kind in SHAPES:
        clamped = imgui.SliderFlags_.always_clamp
        changed, angle = imgui.slider_float("angle", puppet.angle, *ANGLES, "%.0f degrees", clamped)
        imgui.set_item_tooltip("between the shell's foot and its head")
        if changed:
            session.puppeteer.deform(angle=angle)
        changed, index = imgui.combo("along", list(AXES).index(puppet.axis), list(AXES))
        imgui.set_item_tooltip("the axis that leads from the foot to the head")
        if changed:
            session.puppeteer.deform(axis=list(AXES)[index])
    elif kind == "soft":
        if imgui.button("pause" if puppet.playing else "play"):
            puppet.playing = not puppet.playing
        imgui.set_item_tooltip("halt the soft body, or let it move on")
        imgui.same_line()
        if imgui.button("drop"):
            session.puppeteer.restart()
        imgui.set_item_tooltip("let it fall anew from where it was")
