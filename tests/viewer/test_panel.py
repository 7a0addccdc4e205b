"""The panel and the events: each control works, is explained, and does not disturb the camera."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from render.asset import BakedAsset
from tests.render.conftest import shell, teacher
from viewer import keys, panel, path_panel, window
from viewer.cli import main
from viewer.fly import Fly
from viewer.orbit import FOVS
from viewer.progress import TrainingLog
from viewer.session import Session
from viewer.window import Viewer, shared_area

if TYPE_CHECKING:
    from tests.viewer.conftest import Driven

WIDGETS = {
    "button",
    "checkbox",
    "color_edit3",
    "combo",
    "drag_float",
    "drag_float_range2",
    "input_int2",
    "plot_lines",
    "progress_bar",
    "input_int",
    "plot_histogram",
    "radio_button",
    "selectable",
    "slider_float",
    "slider_int",
}
PICTURE = 560, 240  # a place beside the panel


class Watched:
    """Dear ImGui, noting each widget's place, and whether a tooltip follows it."""

    def __init__(self, imgui: Any) -> None:
        self.imgui = imgui
        self.places: dict[str, tuple[float, float]] = {}
        self.tips: dict[str, str] = {}
        self.last = ""
        self.sections: set[str] = set()  # those that are open; none: all of them

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.imgui, name)
        if name == "set_item_tooltip":

            def tip(text: str) -> None:
                self.tips[self.last] = text
                real(text)

            return tip
        if name == "collapsing_header":

            def header(label: str, flags: int) -> Any:
                self.imgui.set_next_item_open(not self.sections or label in self.sections)
                return self.note(label, real(label, flags))

            return header
        if name not in WIDGETS:
            return real

        def widget(label: str, *arguments: Any, **named: Any) -> Any:
            return self.note(label, real(label, *arguments, **named))

        return widget

    def note(self, label: str, result: Any) -> Any:
        """Where the last item lies."""
        (left, top), (_, bottom) = self.imgui.get_item_rect_min(), self.imgui.get_item_rect_max()
        self.places[label] = left + 8, (top + bottom) / 2
        self.last = label
        return result


@pytest.fixture
def watched(driven: Driven) -> Iterator[Watched]:
    """The widgets of the window, after a few frames with everything open."""
    real = driven.viewer.overlay.imgui
    watched = Watched(real)
    driven.viewer.overlay.imgui = watched
    asset = driven.session.asset
    driven.session.asset = driven.session.viewpoint.asset = replace(asset, held_out=(asset.camera,) * 3)
    driven.frames()
    yield watched
    driven.viewer.overlay.imgui = real


def click(driven: Driven, place: tuple[float, float]) -> None:
    scale = driven.glfw.scale
    driven.drag((place[0] * scale, place[1] * scale), (place[0] * scale, place[1] * scale))
    driven.frames(6)  # Dear ImGui takes in a click over several frames


def show(driven: Driven, watched: Watched, *sections: str) -> None:
    """Only these of the panel, which then fits the window."""
    watched.sections = set(sections)
    driven.frames()


def replace_driver(session: Session, asset: BakedAsset) -> Iterator[None]:
    """Another asset, path traced."""
    session.assets.append(("lit", asset))
    session.choose(len(session.assets) - 1)
    yield
    session.settings = replace(session.settings, scale=0.1)
    session.set_mode("pathtrace")
    yield


def test_every_control_has_a_tooltip(driven: Driven, watched: Watched, tmp_path: Path) -> None:
    session = driven.session
    session.help = True
    session.background = 1.0, 1.0, 1.0
    (tmp_path / "log.jsonl").write_text(
        "".join(f'{{"step": {k}, "seconds": {k}, "loss": {1 / k}}}\n' for k in range(1, 9))
    )
    session.log = TrainingLog(tmp_path)
    session.crop.set(True)
    for _ in range(2):
        driven.press("K")
    for auto, flying in ((True, False), (False, True)):
        session.settings = replace(session.settings, auto=auto, width=100 * auto, height=100 * auto)
        session.viewpoint.set_flying(flying)
        driven.frames()
    path_panel.output.film(session, (64, 64), tmp_path)
    driven.frames(2)
    session.cancel()
    lighting = replace_driver(session, teacher())
    for _ in lighting:
        driven.frames(2)
    expected = {"##curve", "##loss", "x", "add key", "to the next", "tension", "preview", "film", "cancel"}
    assert expected | {"denoise", "samples wanted", "pixels", "times"} <= watched.places.keys()
    assert len(watched.places) > 60
    assert watched.places.keys() == watched.tips.keys()
    assert all(len(text) > 3 for text in watched.tips.values())


def test_the_edges_of_the_crop_box_are_seen_from_its_controls(driven: Driven, watched: Watched) -> None:
    driven.session.crop.set(True)
    show(driven, watched, "Picture")
    without = driven.frames(2)
    driven.viewer.on_pointer(None, *watched.places["x"])
    orange = np.abs(driven.frames(3) - (255, 160, 64)).max(-1) < 12  # scene_panel.BOX_COLOUR
    assert orange[:, 330:].sum() > 200
    driven.viewer.on_pointer(None, *PICTURE)
    np.testing.assert_array_equal(driven.frames(3)[:, 330:], without[:, 330:])


@pytest.mark.parametrize("driven", [1.0, 2.0], indirect=True)
def test_clicks_reach_the_controls(driven: Driven, watched: Watched) -> None:
    click(driven, watched.places["depth"])
    assert driven.session.mode == "depth"
    click(driven, watched.places["automatic resolution"])
    assert driven.session.settings.auto


def test_flying_and_back(driven: Driven, watched: Watched) -> None:
    session, view = driven.session, driven.session.viewpoint.view
    click(driven, watched.places["fly"])
    assert isinstance(session.viewpoint.view, Fly)
    click(driven, watched.places["orbit"])
    np.testing.assert_allclose(
        session.viewpoint.view.camera(9, 9).world_from_camera, view.camera(9, 9).world_from_camera, atol=1e-6
    )


def test_buttons(driven: Driven, watched: Watched, tmp_path: Path) -> None:
    session = driven.session
    click(driven, watched.places[">"])
    assert session.viewpoint.held_out == 0
    click(driven, watched.places["<"])
    assert session.viewpoint.held_out == 2
    click(driven, watched.places["reset"])
    assert session.viewpoint.held_out is None
    show(driven, watched, "Output")
    click(driven, watched.places["screenshot"])
    assert [path.name for path in tmp_path.glob("*.png")] == ["ball-colour-001.png"]
    show(driven, watched, "Picture")
    click(driven, watched.places["background"])
    assert session.background == (1, 1, 1)
    click(driven, watched.places["background"])
    assert session.background is None


def test_deforming_a_shell(driven: Driven, watched: Watched) -> None:
    """The section of a shell, which no other asset has."""
    session = driven.session
    assert "twist" not in watched.places
    session.assets.append(("shell", shell()))
    session.choose(1)
    session.settings = replace(session.settings, scale=0.1)
    driven.frames(2)
    for label in ("twist", "bend", "soft", "none"):
        session.puppeteer.deform(kind=label)
        driven.frames(2)
        assert session.puppeteer.puppet is not None and session.puppeteer.puppet.kind == label
    assert {"angle", "along", "pause", "drop"} <= watched.places.keys()
    assert watched.places.keys() == watched.tips.keys()
    show(driven, watched, "Deformation")
    click(driven, watched.places["soft"])
    assert session.puppeteer.puppet.kind == "soft" and session.puppeteer.puppet.playing
    click(driven, watched.places["pause"])
    assert not session.puppeteer.puppet.playing
    click(driven, watched.places["play"])
    assert session.puppeteer.puppet.playing
    session.play(0.1)
    click(driven, watched.places["drop"])
    assert session.puppeteer.puppet._body is not None and session.puppeteer.puppet._body.seconds == 0
    click(driven, watched.places["twist"])
    x, y = watched.places["angle"]
    driven.viewer.on_pointer(None, x, y)
    driven.viewer.on_button(None, 0, driven.glfw.PRESS, 0)
    driven.frames(2)
    driven.viewer.on_pointer(None, x + 400, y)
    driven.frames(2)
    driven.viewer.on_button(None, 0, driven.glfw.RELEASE, 0)
    driven.frames(2)
    assert session.puppeteer.puppet.angle == pytest.approx(180.0)
    click(driven, watched.places["none"])
    assert session.puppeteer.puppet.deformation is None


def test_a_drag_on_the_panel_leaves_the_camera(driven: Driven, watched: Watched) -> None:
    view = driven.session.viewpoint.view
    driven.drag((60, 200), PICTURE)
    driven.frames()
    driven.viewer.on_pointer(None, 60, 200)
    driven.viewer.on_wheel(None, 0, 3)
    driven.frames()
    assert driven.session.viewpoint.view is view
    driven.drag(PICTURE, (60, 200))
    assert driven.session.viewpoint.view is not view, "a drag from the picture goes on over the panel"


def test_a_slider(driven: Driven, watched: Watched) -> None:
    x, y = watched.places["exposure"]
    driven.viewer.on_pointer(None, x, y)
    driven.viewer.on_button(None, 0, driven.glfw.PRESS, 0)
    driven.frames()
    driven.viewer.on_pointer(None, x + 400, y)
    driven.frames()
    driven.viewer.on_button(None, 0, driven.glfw.RELEASE, 0)
    driven.frames()
    assert driven.session.exposure == pytest.approx(panel.EXPOSURES[1])


def test_a_list_that_is_open_has_the_pointer(driven: Driven, watched: Watched) -> None:
    view = driven.session.viewpoint.view
    click(driven, watched.places["up axis"])
    driven.drag(PICTURE, (400, 300))  # closes it
    driven.frames(6)
    assert driven.session.viewpoint.view is view
    driven.drag(PICTURE, (400, 300))
    assert driven.session.viewpoint.view is not view


def test_escape_closes_a_list_and_lets_go(driven: Driven, watched: Watched) -> None:
    """Before it closes anything else."""
    session, viewer, view = driven.session, driven.viewer, driven.session.viewpoint.view
    click(driven, watched.places["up axis"])
    assert viewer.overlay.held
    driven.press("ESCAPE")
    driven.frames(2)
    assert not viewer.overlay.held
    driven.drag(PICTURE, (400, 300))
    assert session.viewpoint.view is not view, "the list is closed"
    x, y = watched.places["exposure"]
    viewer.on_pointer(None, x, y)
    viewer.on_button(None, 0, driven.glfw.PRESS, 0)
    driven.frames()
    exposure = session.exposure
    driven.press("ESCAPE")
    driven.frames(2)
    viewer.on_pointer(None, x + 50, y)
    driven.frames()
    viewer.on_button(None, 0, driven.glfw.RELEASE, 0)
    driven.frames(2)
    assert session.exposure == exposure and not driven.glfw.closing
    driven.press("ESCAPE")
    assert driven.glfw.closing


@pytest.mark.parametrize("label", ["exposure", "field of view"])
def test_what_is_typed_stays_within_the_range(driven: Driven, watched: Watched, label: str) -> None:
    viewer, session = driven.viewer, driven.session
    viewer.on_key(None, driven.glfw.KEY_LEFT_CONTROL, 0, driven.glfw.PRESS, 0)
    driven.frames(1)
    click(driven, watched.places[label])
    viewer.on_key(None, driven.glfw.KEY_LEFT_CONTROL, 0, driven.glfw.RELEASE, 0)
    driven.frames(2)
    assert viewer.overlay.typing
    for digit in "2000":
        viewer.on_character(None, ord(digit))
    driven.frames()
    assert session.exposure <= panel.EXPOSURES[1]
    driven.press("ENTER")
    driven.frames(6)
    assert (session.exposure == panel.EXPOSURES[1]) == (label == "exposure")
    assert (session.viewpoint.view.fov_y == pytest.approx(FOVS[1])) == (label == "field of view")


def test_typing_presses_no_keys(driven: Driven, watched: Watched) -> None:
    session = driven.session
    show(driven, watched, "Output")
    click(driven, watched.places["times"])
    assert driven.viewer.overlay.typing
    driven.viewer.on_character(None, ord("3"))
    driven.press("3")
    driven.frames(6)
    driven.press("ENTER")
    driven.frames(6)
    assert session.mode == "colour", "3 was typed, not pressed"
    assert session.settings.multiple == 3
    assert not driven.viewer.overlay.typing
    driven.press("3")
    assert session.mode == "normal"


def test_keys(driven: Driven) -> None:
    session, viewer = driven.session, driven.viewer
    first = session.viewpoint.view
    driven.press("2")
    assert session.mode == "depth"
    driven.press("6")
    assert session.mode == "depth", "the ball has no errors to show"
    driven.press("F")
    assert session.viewpoint.flying
    driven.press("R")
    np.testing.assert_array_equal(
        session.viewpoint.view.camera(9, 9).world_from_camera, first.camera(9, 9).world_from_camera
    )
    driven.press("TAB")
    assert not session.settings.panel
    driven.press("RIGHT_BRACKET")
    assert session.notices == ["this asset holds no held-out views"]
    driven.press("P")
    driven.frames(1)
    assert [path.name for path in Path.cwd().glob("*.png")] == ["ball-depth-001.png"]
    driven.press("H")
    assert session.help
    driven.press("ESCAPE")
    assert not session.help and not driven.glfw.closing
    viewer.on_character(None, ord("?"))
    assert session.help
    driven.press("H")
    driven.press("ESCAPE")
    assert driven.glfw.closing


def test_keys_of_paths_boxes_and_light(driven: Driven, tmp_path: Path) -> None:
    session = driven.session
    driven.press("SPACE")
    assert any("two keys" in line for line in session.notices) and not session.path.playing
    driven.press("K")
    session.viewpoint.drag(0.2, 0.0, False)
    driven.press("K")
    assert len(session.path.keys) == 2
    driven.press("SPACE")
    assert session.path.playing
    driven.drag(PICTURE, (500, 200))
    assert not session.path.playing, "whoever takes the camera has it"
    whole = driven.frames(2)
    session.crop.set_ends(0, *np.add(session.crop.reach(0), (0.5, 0.0)))
    driven.press("X")
    assert session.crop.on and session.renderer.crops
    cropped = driven.frames(2)
    assert np.abs(cropped - whole)[60:, 330:].mean() > 0.3
    driven.press("X")
    np.testing.assert_array_equal(driven.frames(2)[60:440, 330:], whole[60:440, 330:])
    driven.press("L")
    driven.press("G")
    assert session.mode == "colour", "the ball has neither a surface nor a truth"
    driven.press("F12")
    driven.frames(1)
    assert list(tmp_path.glob("*.png"))
    path_panel.output.film(session, (64, 64), tmp_path)
    driven.frames(2)
    driven.press("ESCAPE")
    assert session.take is None and not driven.glfw.closing and not list(tmp_path.glob("*.mp4"))
    driven.press("ESCAPE")
    assert driven.glfw.closing


def test_whoever_moves_the_view_has_it(driven: Driven, watched: Watched) -> None:
    """The preview of the path ends, where it would take the view back with the next frame."""
    session, viewer, glfw = driven.session, driven.viewer, driven.glfw
    for _ in range(2):
        session.path.add(session.viewpoint.camera(glfw.size))
        session.viewpoint.drag(0.2, 0.0, False)

    def ends(takes: Callable[[], object]) -> bool:
        session.path.play(True)
        session.play(0.1)
        assert session.path.playing
        takes()
        session.play(0.1)
        return not session.path.playing

    assert ends(lambda: driven.press("LEFT_BRACKET")) and session.viewpoint.held_out == 2
    assert ends(lambda: driven.press("RIGHT_BRACKET")) and ends(lambda: driven.press("R"))
    assert ends(lambda: viewer.on_wheel(None, 0, 1))
    assert ends(lambda: session.viewpoint.stand(1)) and session.viewpoint.held_out == 1
    assert ends(lambda: session.viewpoint.set_fov(1.0))
    assert ends(lambda: session.move((1, 0, 0), False, 0.1)) and session.viewpoint.flying
    assert not ends(lambda: viewer.on_wheel(None, 0, 1)), "in flight it sets the speed"
    assert not ends(lambda: session.move((0, 0, 0), False, 0.1))


def test_a_folder_that_was_deleted(driven: Driven, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    driven.frames(2)
    for name in ("P", "F12"):
        driven.press(name)
        assert driven.session.take is None and "the current folder was deleted" in driven.session.notices[0]
        driven.session.tasks.tell("", driven.session.notices[0])
    driven.frames(2)


def test_inertia_is_asked_for(driven: Driven, watched: Watched) -> None:
    session = driven.session
    for wanted in (False, True):
        assert session.settings.inertia == wanted
        driven.drag(PICTURE, (500, 200))
        assert bool(session.viewpoint.glide) == wanted
        before = session.viewpoint.view
        session.play(0.1)
        assert (session.viewpoint.view is not before) == wanted
        session.viewpoint.glide.halt()
        if not wanted:
            show(driven, watched, "Camera")
            click(driven, watched.places["inertia"])


def test_a_warning_of_the_driver_is_shown(driven: Driven) -> None:
    before = driven.frames(2)
    assert driven.session.pictures.warning is None and driven.session.pictures.frame is not None
    driven.session.pictures.frame.warning = "the camera is beyond what was learnt"
    after = driven.frames(2)
    assert np.abs(after - before)[30:60, 10:200].max() > 100


def test_movement_keys_while_they_are_held(driven: Driven) -> None:
    viewer, glfw = driven.viewer, driven.glfw
    for name in ("W", "D", "LEFT_SHIFT"):
        viewer.on_key(None, getattr(glfw, f"KEY_{name}"), 0, glfw.PRESS, 0)
    assert viewer.direction() == (1, 1, 0) and viewer.shift
    viewer.on_key(None, glfw.KEY_S, 0, glfw.PRESS, 0)
    assert viewer.direction() == (0, 1, 0), "ahead and back cancel"
    for name in ("W", "S", "D", "LEFT_SHIFT"):
        viewer.on_key(None, getattr(glfw, f"KEY_{name}"), 0, glfw.RELEASE, 0)
    assert viewer.direction() == (0, 0, 0) and not viewer.shift


def test_gestures(driven: Driven) -> None:
    session, glfw = driven.session, driven.glfw
    driven.frames()

    def distance_and_target() -> tuple[float, list[float]]:
        return session.viewpoint.view.distance, session.viewpoint.view.target.round(6).tolist()  # type: ignore[union-attr]

    before = distance_and_target()
    driven.drag(PICTURE, (500, 200))
    assert distance_and_target() == before
    for button in (glfw.MOUSE_BUTTON_RIGHT, glfw.MOUSE_BUTTON_MIDDLE):
        driven.drag(PICTURE, (500, 200), button)
        assert distance_and_target()[1] != before[1]
        session.viewpoint.reset()
    driven.viewer.on_key(None, glfw.KEY_LEFT_SHIFT, 0, glfw.PRESS, 0)
    driven.drag(PICTURE, (500, 200))
    assert distance_and_target()[1] != before[1]
    session.viewpoint.reset()
    driven.viewer.on_wheel(None, 0, 1)
    assert distance_and_target()[0] < before[0]


def test_dropped_files(driven: Driven, tiny_asset: Path, tmp_path: Path) -> None:
    before = driven.frames(2)
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"nothing")
    driven.viewer.on_drop(None, [str(bad)])
    after = driven.frames(2)
    assert any(str(bad) in line for line in driven.session.notices)
    np.testing.assert_array_equal(after[60:380, 330:], before[60:380, 330:])
    assert np.abs(after[-40:] - before[-40:]).max() > 100, "the line is on the screen"
    driven.viewer.on_drop(None, [str(tiny_asset), str(bad)])
    driven.frames(2)
    assert driven.session.name == str(tiny_asset)
    assert driven.glfw.title.startswith(str(tiny_asset))


def test_the_panel_lies_over_the_picture_only(driven: Driven) -> None:
    shown = driven.frames()
    driven.press("TAB")
    hidden = driven.frames()
    assert np.abs(shown - hidden)[60:, : panel.WIDTH].max(-1).mean() > 50
    np.testing.assert_array_equal(shown[:, 330:], hidden[:, 330:])
    driven.press("H")
    assert np.abs(driven.frames() - hidden)[200:300, 300:400].max() > 50


def test_the_scale_is_always_shown(driven: Driven) -> None:
    driven.session.settings = replace(driven.session.settings, scale=0.5, panel=False)
    driven.frames()
    assert "320 x 240 (50 %)" in panel.state_line(driven.session, (640, 480))


def test_facts_of_hostile_results(driven: Driven) -> None:
    good = {"psnr": {"baked": 31.416, "foreground": None}, "ssim": {"baked": 0.9}, "parity_db": 60}
    bad: list[dict[str, Any]] = [
        {"psnr": "high", "ssim": [1], "parity_db": {"x": 1}},
        {"psnr": {"baked": True}, "ssim": {"baked": "%s%n"}, "parity_db": 1e300},
    ]
    asset = driven.session.asset
    driven.session.asset = replace(asset, results=good)
    found = dict(panel.facts(driven.session))
    assert found["PSNR"] == "31.42 dB" and found["SSIM"] == "0.9000" and found["parity"] == "60.00 dB"
    assert "foreground" not in found
    for results in bad:
        driven.session.asset = replace(asset, results=results)
        assert not {"PSNR", "SSIM", "parity"} & dict(panel.facts(driven.session)).keys()


def test_speeds(driven: Driven) -> None:
    for seconds in [9.0] + [0.01] * 19 + [0.02] * 2:
        driven.session.pace.times.add(seconds)
    driven.session.pace.stats = {"ms": {"march": 8.25}, "timer": "wall", "evaluations_per_pixel": 1.5}
    assert panel.speed_lines(driven.session) == [
        "10.0 ms median = 100.0 fps",
        "20.0 ms p95 = 50.0 fps, over 21 frames",
        "passes: march 8.2 ms by wall clock",
        "1.50 evaluations a pixel",
    ]


def test_the_panel_stands_while_the_view_is_turned(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is drawn all the same, and built anew after an event, a line that is told, or half a second."""
    viewer, built = driven.viewer, []
    real = panel.show
    monkeypatch.setattr(panel, "show", lambda *arguments: (built.append(1), real(*arguments)))

    def builds(passed: float = 0.01) -> int:
        built.clear()
        viewer.session.viewpoint.drag(0.01, 0.0, pan=False)
        viewer.draw(driven.glfw.size, passed)
        return len(built)

    before = driven.frames()
    viewer.lively = 0
    builds(window.REFRESH)
    assert [builds() for _ in range(3)] == [0, 0, 0]
    after = driven.frames(0)
    shining = np.ceil(255 * (1 - panel.OPACITY))  # through the panel
    assert np.abs(after - before)[100:300, 12:300].max() <= shining
    assert np.abs(after - before)[:, 330:].max() > 2 * shining, "the picture turns"
    assert builds(window.REFRESH) == 1 and builds() == 0
    driven.session.tell("something")
    assert builds() == 1 and builds() == 0
    viewer.on_pointer(None, *PICTURE)
    assert builds() == 1
    viewer.lively = 0
    assert builds() == 0
    viewer.on_pointer(None, 20.0, 100.0)
    viewer.lively = 0
    assert [builds() for _ in range(2)] == [1, 1], "what the pointer is on may lie in the picture"
    viewer.on_pointer(None, *PICTURE)
    viewer.on_button(None, 0, driven.glfw.PRESS, 0)
    viewer.on_pointer(None, 20.0, 100.0)
    builds()
    viewer.lively = 0
    assert builds() == 0, "a drag that began on the picture goes on over the panel"
    viewer.on_button(None, 0, driven.glfw.RELEASE, 0)
    viewer.on_pointer(None, *PICTURE)
    viewer.lively = 0
    builds()
    driven.session.path.add(driven.session.viewpoint.camera(driven.glfw.size))
    assert [builds() for _ in range(2)] == [1, 1], "keys of a path lie in the picture"


def test_help_tells_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    """``rows`` is what the overlay draws and ``--help`` prints; the window knows no other key."""
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    told = " ".join(label for label, _ in keys.rows()).split()
    for label in [*keys.MOVES, *keys.NUMBERED, *(label for label, _, _ in keys.PRESSED.values())]:
        assert label in told
    for label, tells in keys.rows():
        assert label in printed and tells in printed
    assert all(callable(getattr(Viewer, action)) for _, action, _ in keys.PRESSED.values())
    assert keys.HELP_CHARACTER in dict(keys.rows())["H"]


def test_shared_area() -> None:
    assert shared_area((0, 0, 10, 10), (5, 8, 10, 10)) == 10
    assert shared_area((0, 0, 10, 10), (20, 0, 10, 10)) == 0
    assert shared_area((0, 0, 10, 10), (20, 20, 10, 10)) == 0
