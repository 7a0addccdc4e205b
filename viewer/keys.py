"""Every key and gesture of the window, once: what runs them, ``--help`` and the help overlay go by it."""

from __future__ import annotations

from collections.abc import Iterator

from render.renderer import MODES

MOUSE = (
    ("drag", "turn about the up axis; look around in flight; move a picture"),
    ("right, middle or shift drag", "pan; look around in flight"),
    ("drag the bar", "move the border between two modes"),
    ("wheel", "zoom; the speed in flight"),
    ("drop a file", "open a baked asset or a run folder"),
)
# The name of a key in glfw, its parts ahead, to the right and up. Held down; the first press takes off.
MOVES = {
    "W": (1, 0, 0),
    "S": (-1, 0, 0),
    "A": (0, -1, 0),
    "D": (0, 1, 0),
    "E": (0, 0, 1),
    "Q": (0, 0, -1),
}
# The name of a key in glfw: what is printed on it, the method of the window, what it does.
PRESSED = {
    "R": ("R", "reset", "back to the first view"),
    "F": ("F", "toggle_fly", "fly, or turn about the scene again"),
    "LEFT_BRACKET": ("[", "previous_view", "the held-out view before"),
    "RIGHT_BRACKET": ("]", "next_view", "the next held-out view"),
    "C": ("C", "toggle_split", "two modes with a bar between them, or one"),
    "B": ("B", "toggle_benchmark", "begin the benchmark, or stop it"),
    "TAB": ("Tab", "next_asset", "the next asset"),
    "P": ("P", "screenshot", "screenshot into the current folder"),
    "U": ("U", "toggle_panel", "show or hide the panel"),
    "F11": ("F11", "toggle_full_screen", "full screen, or a window again"),
    "H": ("H", "toggle_help", "show or hide this help, as ? does"),
    "ESCAPE": ("Esc", "escape", "close this help, else quit"),
}
HELP_CHARACTER = "?"  # by what is typed, since keyboards have it in different places
# The names of the number keys in glfw and the modes they choose, where the asset's driver has them.
NUMBERED = {**dict(zip("12345678", MODES, strict=False)), "9": "truth"}


def rows() -> Iterator[tuple[str, str]]:
    """What to press and what it does, in the order of the help."""
    yield from MOUSE
    yield " ".join(MOVES), "fly ahead, back, left, right, up, down; shift is faster"
    yield " ".join(NUMBERED), ", ".join(NUMBERED.values()) + ", where the asset has them"
    yield "shift + number", "the mode right of the bar"
    yield from ((label, tells) for label, _, tells in PRESSED.values())


def help_text() -> str:
    """The rows as lines of plain text."""
    return "\n".join(f"  {label:<28}  {tells}" for label, tells in rows())
