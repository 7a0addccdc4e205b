"""Every key and gesture of the window, once: what runs them, ``--help`` and the help overlay go by it."""

from __future__ import annotations

from collections.abc import Iterator

from render.renderer import MODES

MOUSE = (
    ("drag", "turn about the up axis; look around in flight; move a picture"),
    ("right, middle or shift drag", "pan; look around in flight"),
    ("drag the bar", "move the border between two modes"),
    ("wheel", "zoom; the speed in flight"),
    ("drop a file", "open a baked asset, a run folder or a camera path"),
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
    "V": ("V", "toggle_split", "two modes with a bar between them, or one"),
    "G": ("G", "toggle_truth", "the truth, or what is drawn again"),
    "X": ("X", "toggle_crop", "crop to a box, or show all"),
    "L": ("L", "toggle_light", "path tracing, or colour again"),
    "K": ("K", "add_key", "put the camera into the path"),
    "SPACE": ("Space", "preview", "preview the camera path, or stop it"),
    "B": ("B", "toggle_benchmark", "begin the benchmark, or stop it"),
    "N": ("N", "next_asset", "the next asset"),
    "P": ("P", "screenshot", "screenshot into the current folder, as F12 does"),
    "TAB": ("Tab", "toggle_panel", "show or hide the panel"),
    "F11": ("F11", "toggle_full_screen", "full screen, or a window again"),
    "H": ("H", "toggle_help", "show or hide this help, as ? does"),
    "ESCAPE": ("Esc", "escape", "close a list or this help, cancel a film, or quit"),
}
ALIASES = {"F12": "P"}  # keys that do what others do
HELP_CHARACTER = "?"  # by what is typed, since keyboards have it in different places
# The names of the number keys in glfw and the modes they choose, where the asset's driver has them.
NUMBERED = {**dict(zip("12345678", MODES, strict=False)), "9": "truth", "0": "pathtrace"}


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
