"""``render-train SCENE --inspect``: what a scene's data is, what looks wrong, and a drawing of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from render.camera import Camera
from render.errors import InshaderError
from scenes.dataset import HOLD_OUT, Dataset, Picture, PosedImages, Surface, Views, coverage
from scenes.hull import bounds_from_views, visual_hull
from scenes.load import load_dataset, recognised
from scenes.normalise import looks_one_way
from scenes.scene import Scene

OFF_CENTRE = 0.2  # of the picture's size: principal points further from the middle are warned of
PIXELS = 4096  # of each picture whose rays are held against the box
POINTS = 50_000  # of a surface and its inside that are drawn at most
HULL = 32  # cells a side of the hull that is drawn, and of the first level of the box it suggests
PANEL = 560  # pixels a side of each of the two views
SHARP = 2  # lines are drawn this much larger and averaged down
FRUSTUM = 0.12  # depth of a drawn frustum, in mean distances of the cameras
COLOURS = {"box": (0, 0, 0), "train": (31, 95, 180), "test": (235, 120, 20)}
LEGEND = "left from above, right from the side, up is up: box black, what it holds grey, cameras blue, "
LEGEND += "held-out ones orange"

Floats = NDArray[np.float64]
Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Inspection:
    """What there is to say about a scene's data.

    Attributes:
        rows: name and value, in the order to be shown.
        warnings: one line each; what trains badly though it can be read.
        picture: (h, w, 3) uint8, see ``LEGEND``.
    """

    rows: Rows
    warnings: list[str]
    picture: NDArray[np.uint8]


def inspect(scene: Scene) -> Inspection:
    """Read the data of a scene and describe it.

    Raises:
        InshaderError: the data cannot be read; the message names what is missing.
    """
    kind, why = recognised(scene)
    dataset = load_dataset(scene)
    rows = [("data", str(scene.data_path or "made here")), ("reader", f"{kind}, because {why}")]
    warnings: list[str] = []
    held = np.zeros((0, 3))  # points in the box that are drawn
    if isinstance(dataset, PosedImages):
        rows += _posed_rows(dataset)
        suggested, warnings = _suggested(dataset)
        rows += _camera_rows(dataset, (*dataset.train.cameras, *dataset.test.cameras))
        rows += _space_rows(dataset) + _around_rows(dataset) + suggested
        warnings += _warnings(dataset)
        held = _hull_points(dataset)
    elif isinstance(dataset, Surface):
        rows += _surface_rows(dataset) + _camera_rows(dataset, dataset.test.cameras) + _space_rows(dataset)
        held = dataset.points[dataset.distances <= 0][:POINTS].astype(np.float64)
    else:
        rows += _picture_rows(dataset) + _space_rows(dataset)
    return Inspection(rows, warnings, draw(dataset, held))


# Rows -------------------------------------------------------------------------------------------------------


def _numbers(values: ArrayLike) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in np.asarray(values, np.float64) + 0.0) + ")"


def _range(values: Sequence[float], unit: str = "") -> str:
    low, high = f"{min(values):.5g}", f"{max(values):.5g}"
    return (low if low == high else f"{low} to {high}") + unit


def _format(views: Views) -> str:
    h, w, channels = views.images.shape[1:]
    kind = {1: "grey", 3: "RGB", 4: "RGB and alpha"}[channels]
    return f"{w}x{h}, {kind}, {views.images.dtype}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def _posed_rows(dataset: PosedImages) -> Rows:
    train, test = dataset.train, dataset.test
    rows = [
        ("pictures", f"{len(train)} to train on, {len(test)} held out ({_names(test.names)})"),
        ("held out are", f"the pictures that the data names for tests, else every {HOLD_OUT}th by name"),
        ("resolution", _format(train)),
    ]
    # By picture: as float32 they would fill the memory.
    alphas = [coverage(image) for views in (train, test) for image in views.images]
    shares = [float(alpha.mean()) for alpha in alphas if alpha is not None]
    if shares:
        mean, low, high = 100 * np.mean(shares), 100 * min(shares), 100 * max(shares)
        rows.append(("alpha", f"covers {mean:.1f} % of the pixels, {low:.1f} to {high:.1f} % of a picture"))
    else:
        rows.append(("alpha", "none: every pixel is trained on, the visual hull is unknown"))
    return rows


def _camera_rows(dataset: PosedImages | Surface, cameras: Sequence[Camera]) -> Rows:
    source, scale = _source_from_world(dataset)
    positions = np.stack([camera.position for camera in cameras])  # (n, 3)
    distance = float(np.linalg.norm(positions, axis=1).mean())  # the box is centred
    positions = positions @ source[:3, :3].T + source[:3, 3]
    wide, high = (
        [float(np.degrees(2 * np.arctan(0.5 * size / focal))) for size, focal in sizes]
        for sizes in ([(c.w, c.fl_x) for c in cameras], [(c.h, c.fl_y) for c in cameras])
    )
    fl_x, fl_y, cx, cy = (_range([getattr(c, key) for c in cameras]) for key in ("fl_x", "fl_y", "cx", "cy"))
    return [
        ("focal length", f"x {fl_x}, y {fl_y} pixels"),
        ("principal point", f"x {cx}, y {cy} pixels"),
        ("field of view", f"{_range(wide)} x {_range(high)} degrees"),
        ("cameras", f"in source units from {_numbers(positions.min(0))} to {_numbers(positions.max(0))}"),
        ("mean distance", f"{distance / scale:.4g} source units, {distance:.4g} world units"),
    ]


def _surface_rows(dataset: Surface) -> Rows:
    from scenes.surface import loose_edges

    distances, faces = dataset.distances, dataset.faces
    loose = loose_edges(faces)
    inside = 100 * float((distances < 0).mean())
    return [
        ("surface", f"{len(dataset.vertices)} vertices, {len(faces)} faces"),
        ("open edges", f"{loose}" if loose else "none, it is closed"),
        ("points", f"{len(dataset.points)}, {inside:.1f} % inside"),
        ("distances", f"{distances.min():.4g} to {distances.max():.4g} world units"),
        ("held-out views", f"{len(dataset.test)} of {_format(dataset.test)}"),
    ]


def _picture_rows(dataset: Picture) -> Rows:
    return [("picture", _format(dataset.test)), ("peak", f"{dataset.peak:.5g}")]


def _space_rows(dataset: Dataset) -> Rows:
    source, scale = _source_from_world(dataset)
    up = source[:3, :3] @ dataset.up * scale
    low, high = _box_in_source(dataset.bounds, source)
    return [
        ("conventions", "cameras look along -z, y up, pixel centres at + 0.5"),
        ("up", f"{_numbers(up)} in source axes"),
        ("scene box", f"{_numbers(low)} to {_numbers(high)} in source units"),
        ("", f"{_numbers(dataset.bounds[0])} to {_numbers(dataset.bounds[1])} in world units"),
        ("normalisation", f"a source unit is {scale:.5g} world units"),
        ("background", f"{dataset.background_name} {_numbers(dataset.background)}"),
    ]


def _around_rows(dataset: PosedImages) -> Rows:
    """What is taken of the space around."""
    if not dataset.unbounded:
        return [("around the box", "nothing: pictures show what is in it, or masks leave out the rest")]
    *middle, radius = (float(value) for value in dataset.ball)
    if looks_one_way(dataset.train.cameras):
        return [
            (
                "around the box",
                f"all that is seen from {dataset.near * radius:.4g} world units away to infinity, in "
                "normalised device coordinates: the cameras look one way",
            )
        ]
    return [
        (
            "around the box",
            f"all of space, contracted outside of the ball about {_numbers(middle)} of radius {radius:.4g} "
            f"in world units; nothing nearer than {dataset.near * radius:.4g} to a camera",
        )
    ]


def _suggested(dataset: PosedImages) -> tuple[Rows, list[str]]:
    """The box that ``scenes.hull`` would carve from alpha alone, or why there is none."""
    if dataset.train.images.shape[-1] != 4:
        return [], []
    try:
        box = bounds_from_views(dataset.train, HULL)
    except InshaderError as error:
        return [], [str(error)]
    low, high = _box_in_source(box, _source_from_world(dataset)[0])
    corners = ", ".join("[" + ", ".join(f"{value:.4g}" for value in corner) + "]" for corner in (low, high))
    return [("box by silhouettes", f"data.bounds=[{corners}]")], []


def _source_from_world(dataset: Dataset) -> tuple[Floats, float]:
    """The way back (4, 4), and how many world units a source unit has."""
    scale = float(np.cbrt(abs(np.linalg.det(dataset.world_from_source[:3, :3]))))
    source: Floats = np.linalg.inv(dataset.world_from_source).astype(np.float64)
    return source, scale


def _box_in_source(box: ArrayLike, source: Floats) -> tuple[Floats, Floats]:
    corners = np.asarray(box, np.float64) @ source[:3, :3].T + source[:3, 3]  # (2, 3)
    corners[np.abs(corners) < 1e-6 * np.ptp(corners)] = 0  # what float32 made of a nought
    return corners.min(0), corners.max(0)


# Warnings ---------------------------------------------------------------------------------------------------


def _warnings(dataset: PosedImages) -> list[str]:
    found = []
    low, high = dataset.bounds.astype(np.float64)
    views = [
        (camera, image, name)
        for part in (dataset.train, dataset.test)
        for camera, image, name in zip(part.cameras, part.images, part.names, strict=True)
    ]
    inside = [name for c, _, name in views if (c.position > low).all() and (c.position < high).all()]
    if inside:
        found.append(f"{len(inside)} cameras stand inside the scene box: {_names(inside)}")
    off = [
        name
        for c, _, name in views
        if abs(c.cx / c.w - 0.5) > OFF_CENTRE or abs(c.cy / c.h - 0.5) > OFF_CENTRE
    ]
    if off:
        found.append(f"principal points far from the middle (cameras of another size?): {_names(off)}")
    missed, any_seen = [], False
    for camera, image, name in views:
        share = _share_in_box(camera, image, low, high)
        any_seen |= share is not None and share > 0
        if share == 0:
            missed.append(name)
    what = "covered pixel" if dataset.train.images.shape[-1] == 4 else "pixel"
    if not any_seen:
        found.append(f"the scene box misses the object: no {what} of any picture looks into it")
    elif missed:
        found.append(f"{len(missed)} pictures have no {what} that looks into the scene box: {_names(missed)}")
    return found


def _share_in_box(camera: Camera, image: NDArray[np.generic], low: Floats, high: Floats) -> float | None:
    """How many of a picture's covered pixels look into the box, of 1; None where none is covered."""
    h, w, channels = image.shape
    pixels = np.flatnonzero(image[..., 3]) if channels == 4 else np.arange(h * w)
    if len(pixels) == 0:
        return None
    pixels = pixels[:: 1 + len(pixels) // PIXELS]
    x = (pixels % w + 0.5 - camera.cx) / camera.fl_x
    y = (camera.cy - pixels // w - 0.5) / camera.fl_y
    rays_d = np.stack([x, y, -np.ones_like(x)], -1) @ camera.world_from_camera[:3, :3].T  # (n, 3)
    rays_d[np.abs(rays_d) < 1e-12] = 1e-12  # a slab along the ray: outside of it, it is never met
    t = (np.stack([low, high])[:, None] - camera.position) / rays_d  # (2, n, 3)
    met = t.min(0).max(1) <= t.max(0).min(1)
    return float((met & (t.max(0).min(1) > 0)).mean())


# The picture ------------------------------------------------------------------------------------------------


def _hull_points(dataset: PosedImages) -> Floats:
    """Centres (n, 3) of the cells that no silhouette excludes; none without alpha."""
    if dataset.train.images.shape[-1] != 4:
        return np.zeros((0, 3))
    low, high = dataset.bounds.astype(np.float64)
    cells = np.argwhere(visual_hull(dataset.train, dataset.bounds, HULL))
    return np.asarray(low + (cells + 0.5) * (high - low) / HULL)


def draw(dataset: Dataset, held: Floats) -> NDArray[np.uint8]:
    """The box, the cameras and the points ``held`` (n, 3), from above and from the side: (h, w, 3) uint8."""
    train = dataset.train.cameras if isinstance(dataset, PosedImages) else ()
    test = dataset.test.cameras
    distance = float(np.mean([np.linalg.norm(camera.position) for camera in (*train, *test)]))
    lines = {"box": _box_lines(dataset.bounds)}
    for name, cameras in (("train", train), ("test", test)):
        frusta = [_frustum_lines(camera, FRUSTUM * distance) for camera in cameras]
        lines[name] = np.concatenate([np.zeros((0, 2, 3)), *frusta])  # (n, 2, 3)
    along, across, up = _axes(dataset.up, np.stack([camera.position for camera in (*train, *test)]))
    ends = np.concatenate(list(lines.values())).reshape(-1, 3)
    frame = np.stack([along, across, up], -1)  # (3, 3), world_from_frame
    low, high = (ends @ frame).min(0), (ends @ frame).max(0)
    middle, half = (low + high) / 2, 0.53 * float((high - low).max())
    pixel = 2 * half / (SHARP * PANEL)  # its size in world units
    cell = float(np.max(dataset.bounds[1] - dataset.bounds[0])) / HULL if train else 2 * pixel
    panels = []
    for axes in ([0, 1], [0, 2]):
        corner = (middle[axes] + [-half, half]) * [1, -1]  # of the picture, top left
        turned = frame[:, axes] * [1, -1]  # columns to the right, rows down
        canvas = _shade(((held @ turned - corner) / pixel).astype(np.int64), int(cell / pixel))
        for name, segments in lines.items():
            _lines(canvas, ((segments @ turned - corner) / pixel).astype(np.int64), COLOURS[name])
        panels.append(canvas.reshape(PANEL, SHARP, PANEL, SHARP, 3).mean((1, 3)).astype(np.uint8))
    panels[1][:, :1] = 128
    return np.concatenate(panels, 1)


def _axes(up: ArrayLike, positions: Floats) -> tuple[Floats, Floats, Floats]:
    """Unit vectors: a level one towards most cameras, one level and across it, and up."""
    up = np.asarray(up, np.float64) / np.linalg.norm(up)
    along = positions.mean(0)
    along = along - (along @ up) * up
    if np.linalg.norm(along) < 0.3 * np.linalg.norm(positions, axis=1).mean():  # they stand all around
        along = np.eye(3)[np.argmin(np.abs(up))]
        along = along - (along @ up) * up
    along = along / np.linalg.norm(along)
    return along, np.cross(up, along), up


def _box_lines(bounds: ArrayLike) -> Floats:
    """(12, 2, 3) edges."""
    corners = np.argwhere(np.ones((2, 2, 2)))  # (8, 3) of 0 and 1
    pairs = [(i, j) for i in range(8) for j in range(i) if np.abs(corners[i] - corners[j]).sum() == 1]
    low, high = np.asarray(bounds, np.float64)
    return np.asarray((low + corners * (high - low))[np.array(pairs)])


def _frustum_lines(camera: Camera, depth: float) -> Floats:
    """(8, 2, 3): from the camera to the picture's corners, and around it."""
    i, j = np.array([0, camera.w, camera.w, 0]), np.array([0, 0, camera.h, camera.h])
    corners = np.stack(
        [(i - camera.cx) / camera.fl_x, (camera.cy - j) / camera.fl_y, -np.ones(4)], -1
    )  # (4, 3)
    axes = camera.world_from_camera[:3, :3] / np.linalg.norm(camera.world_from_camera[:3, 0])
    corners = camera.position + depth * corners @ axes.T
    start = np.broadcast_to(camera.position, corners.shape)
    return np.concatenate([np.stack([start, corners], 1), np.stack([corners, np.roll(corners, 1, 0)], 1)])


def _shade(at: NDArray[np.int64], reach: int) -> NDArray[np.uint8]:
    """White, and the greyer the more squares of side ``reach`` + 1 about pixels (n, 2) lie on each other."""
    side = SHARP * PANEL
    column, row = np.clip(at, 0, side - 1).T
    depth = np.bincount(row * side + column, minlength=side * side).reshape(side, side)
    pixel = np.arange(side)
    first, last = np.maximum(pixel - (reach - reach // 2), 0), np.minimum(pixel + reach // 2, side - 1)
    for axis in (0, 1):  # squares as differences of sums
        sums = np.insert(np.cumsum(depth, axis), 0, 0, axis)
        depth = sums.take(last + 1, axis) - sums.take(first, axis)
    grey = np.where(depth > 0, 222 - 100 * depth / max(1, depth.max()), 255)
    return np.repeat(grey.astype(np.uint8)[..., None], 3, -1)


def _lines(canvas: NDArray[np.uint8], ends: NDArray[np.int64], colour: ArrayLike) -> None:
    """Draw segments between pixels (n, 2, 2), in place."""
    for first, last in ends:
        t = np.linspace(0, 1, int(np.abs(last - first).max()) + 1)[:, None]
        at = np.rint(first + t * (last - first)).astype(np.int64)
        for shift in np.ndindex(SHARP, SHARP):  # as thick as a pixel of the picture
            column, row = np.clip(at + shift, 0, len(canvas) - 1).T
            canvas[row, column] = colour
