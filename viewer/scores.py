"""Parts of what lies over the picture: how near it comes to the truth, and the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from viewer.benchmark import rows
from viewer.session import Session

GAINS = 1.0, 32.0  # of errors
CHART_HEIGHT = 70.0


def score_lines(session: Session) -> list[str]:
    """What is known of the picture that is seen, against its truth."""
    truth, score = session.comparison.truth, session.comparison.score
    if truth.pictures is None:
        return ["reading pictures ..."] if truth.reading else []
    if session.viewpoint.standing is None:
        return ["away from the held-out views: [ and ] lead there"]
    if score is None:
        return ["comparing ..."]
    exact = "the same as the truth" if score.psnr is None else f"PSNR {score.psnr:.2f} dB"
    inside = "" if score.foreground is None else f", foreground {score.foreground:.2f} dB"
    alike = [] if score.ssim is None else [f"SSIM {score.ssim:.4f}"]
    return [f"view {session.viewpoint.standing + 1}: {exact}{inside}", *alike]


def section(imgui: Any, session: Session) -> None:
    """Of the side panel: two modes at once, and the truth as one of them."""
    changed, split = imgui.checkbox("split view", session.split is not None)
    imgui.set_item_tooltip("two modes with a bar between them, to be dragged (key V)")
    if changed:
        session.set_split(split)
    truth = session.comparison.truth
    if truth.offered and not truth.asked:
        imgui.same_line()
        if imgui.button("read pictures"):
            truth.ask()
        imgui.set_item_tooltip("read the held-out pictures of the asset's scene, to compare with")
    if session.split is not None:
        modes = list(session.modes)
        changed, index = imgui.combo("right of the bar", modes.index(session.other), modes)
        imgui.set_item_tooltip("the mode right of the bar (shift + its number)")
        if changed:
            session.set_mode(modes[index], right=True)
    if "error" in (session.mode, session.other if session.split is not None else ""):
        changed, gain = imgui.slider_float("gain", session.error_gain, *GAINS, "x %.1f")
        imgui.set_item_tooltip("what differences are multiplied by in the mode error")
        if changed:
            session.error_gain = min(max(gain, GAINS[0]), GAINS[1])
    for line in score_lines(session):
        imgui.text_unformatted(line)


def benchmark_button(imgui: Any, session: Session) -> None:
    """Of the side panel."""
    if session.comparison.measuring:
        if imgui.button("stop"):
            session.comparison.stop()
        imgui.set_item_tooltip("end the benchmark (key B)")
    else:
        if imgui.button("benchmark"):
            session.comparison.measure(session.renderer)
        imgui.set_item_tooltip("time and score the held-out views, as render-bench does (key B)")


def show_results(imgui: Any, session: Session) -> None:
    """In a window of its own: a table, and a chart of the views where they have scores."""
    benchmark = session.comparison.benchmark
    if benchmark is None or benchmark.results is None:
        return
    results = benchmark.results
    if imgui.begin_table("results", 2, imgui.TableFlags_.sizing_fixed_fit):
        for label, value in rows(results):
            imgui.table_next_row()
            imgui.table_next_column()
            imgui.text_disabled(label)
            imgui.table_next_column()
            imgui.text_unformatted(value)
        imgui.end_table()
    if "psnr" in results:
        _chart(imgui, session, results["psnr"]["per_view"])
    if imgui.button("close##results"):
        session.comparison.stop()
    imgui.set_item_tooltip("forget these results")


def _chart(imgui: Any, session: Session, per_view: Sequence[float | None]) -> None:
    """PSNR of each held-out view; a picture equal to its truth is as high as the best of the others."""
    known = [value for value in per_view if value is not None]
    if not known:
        return
    low, high = min(known), max(known)
    values = np.array([high if value is None else value for value in per_view], np.float32)
    width = imgui.get_content_region_avail().x
    imgui.text_unformatted(f"PSNR of each view, {low:.2f} to {high:.2f} dB")
    imgui.plot_histogram(
        "##chart", values, scale_min=low - 1, scale_max=high, graph_size=(max(width, 260.0), CHART_HEIGHT)
    )
    (left, _), (right, _) = imgui.get_item_rect_min(), imgui.get_item_rect_max()
    share = (imgui.get_mouse_pos().x - left) / max(right - left, 1)
    index = min(max(int(share * len(values)), 0), len(values) - 1)
    value = per_view[index]
    found = "equal to the truth" if value is None else f"{value:.2f} dB"
    imgui.set_item_tooltip(f"view {index + 1}: {found}; a click goes there")
    if imgui.is_item_clicked() and index < len(session.asset.held_out):
        session.viewpoint.stand(index)
