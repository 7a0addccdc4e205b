"""A part of what lies over the picture: how the training goes that the asset comes from."""

from __future__ import annotations

from typing import Any

import numpy as np

from viewer.progress import TrainingLog

CHART_HEIGHT = 80.0
FIRST = ("psnr", "loss")  # of these, the first there is is shown without asking


class RunPanel:
    """What is remembered of it: the curve that was chosen last, and whether a training was seen at work."""

    chosen: str = ""
    begun: bool = False

    def show(self, imgui: Any, log: TrainingLog, width: float) -> None:
        """State and curve of a training, ``width`` units wide."""
        imgui.text_unformatted(state_line(log))
        names = list(log.curves)
        if not names:
            return
        if self.chosen not in names:
            self.chosen = next((name for name in FIRST if name in names), names[0])
        imgui.set_next_item_width(110)
        changed, index = imgui.combo("##curve", names.index(self.chosen), names)
        imgui.set_item_tooltip("which number of the training's log the curve shows")
        if changed:
            self.chosen = names[index]
        seconds, values = log.curves[self.chosen]
        imgui.same_line()
        imgui.text_unformatted(f"{values[-1]:.5g}")
        curve(imgui, np.array(seconds), np.array(values), width)


def state_line(log: TrainingLog) -> str:
    """What the log tells last."""
    if not log.curves:
        return "the training has told nothing yet"
    doing = "training" if log.live else "trained"
    return f"{doing}: {log.stage}, step {log.step}, {log.seconds:.0f} s"


def curve(imgui: Any, seconds: np.ndarray, values: np.ndarray, width: float) -> None:
    """Values over seconds, evenly in time."""
    if len(seconds) < 2 or seconds[-1] <= seconds[0]:
        imgui.text_disabled("a curve wants two lines of the log")
        return
    even = np.linspace(seconds[0], seconds[-1], max(int(width), 2))
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 1.0
    drawn = np.interp(even, seconds, values).astype(np.float32)
    imgui.plot_lines(
        "##loss",
        drawn,
        scale_min=low - margin,
        scale_max=high + margin,
        graph_size=(width, CHART_HEIGHT),
    )
    (left, _), (right, _) = imgui.get_item_rect_min(), imgui.get_item_rect_max()
    share = min(max((imgui.get_mouse_pos().x - left) / max(right - left, 1), 0.0), 1.0)
    t = seconds[0] + share * (seconds[-1] - seconds[0])
    imgui.set_item_tooltip(f"{np.interp(t, seconds, values):.5g} after {t:.0f} s")
    imgui.text_disabled(f"{low:.4g} to {high:.4g}, {seconds[0]:.0f} to {seconds[-1]:.0f} s")
