"""The envelope of adaptive shells: evolution against slow numpy and a table, meshes against balls."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import trimesh
from scipy import ndimage

from render.asset import BakedMesh
from render.errors import InshaderError
from scenes.distance import INSIDE, signed_distances, winding_numbers
from training.families.adaptive_shells import level_set
from training.families.adaptive_shells.envelope import Envelope, Options, extract
from training.families.adaptive_shells.level_set import dilate, erode, opacity, outward_reach

VOXEL = 2 / 512  # the lattice to which the table belongs
SIZES = [0.0005, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1]
OPACITIES = [0.980, 0.623, 0.323, 0.177, 0.093, 0.038, 0.019]  # of a step of VOXEL at f = 0
REACHES = [0.0043, 0.0108, 0.0218, 0.0364, 0.0583, 0.0957, 0.1]  # outwards, the last two ends of the band


def plane(h: float, s: float) -> tuple[np.ndarray, np.ndarray]:
    """A field that is x, negative below 0, on lattice points h apart."""
    x = np.arange(-0.15, 0.15, h, dtype=np.float32) + np.float32(0.3 * h)  # the surface between two points
    f = np.broadcast_to(x[:, None, None], (len(x), 5, 5)).copy()
    return f, np.full_like(f, s)


def crossing(field: np.ndarray, f: np.ndarray) -> float:
    """Where ``plane`` is where an evolved field passes zero."""
    line, x = field[:, 2, 2].astype(float), f[:, 2, 2].astype(float)
    (k,) = np.flatnonzero((line[:-1] < 0) & (line[1:] >= 0))
    return float(x[k] + (x[k + 1] - x[k]) * line[k] / (line[k] - line[k + 1]))


def lattice(box: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    counts = np.rint((box[1] - box[0]) / h).astype(int) + 1
    axes = (np.linspace(*ends, n) for ends, n in zip(box.T, counts, strict=True))
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return x, y, z


def rough_ball(n: int, s: float, amplitude: float = 0.1) -> tuple[np.ndarray, np.ndarray, float]:
    """A ball whose distance is ever more wrong away from its surface; kernel sizes are about 1.5 s."""
    rng = np.random.default_rng(3)
    axis = np.linspace(-0.5, 0.5, n)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    f = np.sqrt(x**2 + y**2 + z**2) - 0.28
    noise, other = (ndimage.gaussian_filter(rng.normal(size=f.shape), 1.5) for _ in range(2))
    f *= 1 + amplitude * (noise / noise.std()).clip(-3.5, 3.5)
    size = s * (1.5 + 0.1 * other / other.std())
    return f.astype(np.float32), size.astype(np.float32), 1 / (n - 1)


# Opacity --------------------------------------------------------------------------------------------------


def test_opacity_is_that_of_the_table() -> None:
    assert np.allclose(opacity(0, SIZES, VOXEL), OPACITIES, atol=6e-4)  # of which three decimals are printed
    f, s = np.linspace(-0.2, 0.2, 401)[:, None], np.array(SIZES)
    alpha = opacity(f, s)
    assert (alpha >= 0).all() and (alpha <= 1).all()
    assert (np.diff(alpha, axis=0) <= 1e-12).all(), "deeper inside is more opaque"


def test_opacity_is_the_integral_of_density() -> None:
    s, step = 0.01, 0.02
    t = (np.arange(20000) + 0.5) / 20000 * step
    for middle in (-0.02, 0.0, 0.03):
        f = middle + step / 2 - t
        sigma = (1 - 1 / (1 + np.exp(-f / s))) / s  # -dPhi/dt / Phi of a ray head-on
        assert opacity(middle, s, step) == pytest.approx(1 - np.exp(-sigma.mean() * step), abs=1e-7)


def test_reach_is_where_opacity_passes_the_threshold() -> None:
    reach = outward_reach(SIZES)
    assert np.allclose(reach, REACHES, atol=6e-5)
    assert np.allclose(opacity(reach[:-1], SIZES[:-1]), level_set.MIN_ALPHA, rtol=1e-6)
    assert outward_reach(0.3) == 0, "a kernel without opacity anywhere"


def test_compiled_opacity_is_the_plain_one() -> None:
    for f in (-0.1, -0.003, 0.0, 0.004, 0.09):
        for s in SIZES:
            assert level_set._opacity(f, s) == pytest.approx(float(opacity(f, s)), rel=1e-9, abs=1e-15)


# Evolution ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("s", "reach"), list(zip(SIZES, REACHES, strict=True)))
def test_dilation_reaches_as_far_as_the_table(s: float, reach: float) -> None:
    f, size = plane(VOXEL, s)
    assert crossing(dilate(f, size, [VOXEL] * 3), f) == pytest.approx(reach, abs=VOXEL)


@pytest.mark.parametrize(("s", "reach"), [(0.0005, 0.0085), (0.02, 0.038), (0.1, 0.05)])
def test_erosion_reaches_as_far_as_the_table(s: float, reach: float) -> None:
    f, size = plane(VOXEL, s)
    assert -crossing(erode(f, size, [VOXEL] * 3), f) == pytest.approx(reach, abs=VOXEL)


@pytest.mark.parametrize("h", [2 / 128, 2 / 256, 2 / 700])
def test_the_reach_does_not_depend_on_the_resolution(h: float) -> None:
    f, size = plane(h, 0.02)
    assert crossing(dilate(f, size, [h] * 3), f) == pytest.approx(0.0583, abs=h)
    assert -crossing(erode(f, size, [h] * 3), f) == pytest.approx(0.038, abs=max(VOXEL, h / 2))


def slow_evolution(f: np.ndarray, s: np.ndarray, spacing: list[float], grows: bool) -> np.ndarray:
    """The evolution with whole arrays, in double precision."""
    cells = level_set.margin_cells(spacing)
    depth = cells * max(spacing)
    alpha = opacity(f, np.minimum(s, level_set.LARGEST_KERNEL))
    if grows:
        moving = (f < level_set.DILATION_BAND) & (alpha > level_set.MIN_ALPHA)
        speed = np.where(moving, level_set.DILATION_SPEED, 0)
        active = ndimage.binary_dilation(moving & (f > -depth), np.ones((2 * cells + 1,) * 3))
        smoothing, sign = level_set.SMOOTHING, 1
    else:
        speed = -np.minimum(level_set.MAX_EROSION_SPEED, level_set.EROSION_SPEED / np.maximum(alpha, 1e-9))
        active = (f > -level_set.EROSION_BAND) & (f < depth)
        smoothing, sign = 0, -1
    steps = level_set.time_steps(spacing, grows)
    now = f.astype(np.float64)
    for _ in range(steps):
        wide = np.pad(now, 1, mode="edge")

        def at(*shift: int, wide: np.ndarray = wide) -> np.ndarray:
            return wide[tuple(slice(1 + d, n - 1 + d) for d, n in zip(shift, wide.shape, strict=True))]

        squares, unit = 0, np.eye(3, dtype=int)
        first, second = [], {}
        for a in range(3):
            back, ahead = (now - at(*-unit[a])) / spacing[a], (at(*unit[a]) - now) / spacing[a]
            squares = squares + np.maximum(np.maximum(sign * back, -sign * ahead), 0) ** 2
            first.append((back + ahead) / 2)
            second[a, a] = (ahead - back) / spacing[a]
            for b in range(a):
                plus, minus = unit[a] + unit[b], unit[a] - unit[b]
                corners = at(*plus) + at(*-plus) - at(*minus) - at(*-minus)
                second[a, b] = second[b, a] = corners / (4 * spacing[a] * spacing[b])
        length = sum(d**2 for d in first)
        curvature = sum(
            second[a, a] * (length - first[a] ** 2)
            - sum(second[a, b] * first[a] * first[b] for b in range(3) if b != a)
            for a in range(3)
        ) / (length + 1e-12)
        rate = -speed * np.sqrt(squares) + smoothing * curvature
        now = np.where(active, now + level_set.TIME / steps * rate, now)
    return np.minimum(f, now) if grows else np.maximum(f, now)


@pytest.mark.parametrize("grows", [True, False])
def test_evolution_is_that_of_whole_arrays(grows: bool) -> None:
    f, s, h = rough_ball(40, 0.01)
    spacing = [h, 1.25 * h, 0.8 * h]
    fast = (dilate if grows else erode)(f, s, spacing)
    slow = slow_evolution(f, s, spacing, grows)
    assert np.abs(slow - f).max() > 0.02, "something moves"
    # 100 steps, each rounded to 2^-24 of values below 1, of slopes that divide it by a cell.
    assert np.abs(fast - slow).max() < 2e-5


def test_fields_only_grow_and_only_shrink() -> None:
    f, s, h = rough_ball(48, 0.01)
    before = f.copy()
    outer, inner = dilate(f, s, [h] * 3), erode(f, s, [h] * 3)
    assert (f == before).all()
    assert (outer <= f).all() and (f <= inner).all()
    assert np.count_nonzero(outer < 0) > np.count_nonzero(f < 0) > np.count_nonzero(inner < 0) > 0
    again = dilate(f, s, [h] * 3)
    assert (again == outer).all(), "the same to the bit"


@pytest.mark.parametrize("s", [0.0007, 0.02])
def test_a_ball_stays_in_one_piece(s: float) -> None:
    f, size, h = rough_ball(64, s, amplitude=0)
    for field in (dilate(f, size, [h] * 3), erode(f, size, [h] * 3)):
        assert ndimage.label(field < 0)[1] == ndimage.label(field >= 0)[1] == 1


def test_noise_away_from_the_surface_makes_no_pieces() -> None:
    f, s, h = rough_ball(64, 0.01, amplitude=0.25)  # off by a quarter of itself, up to 7/8
    outer = dilate(f, s, [h] * 3)
    near = (f < level_set.DILATION_BAND) & (opacity(f, s) > level_set.MIN_ALPHA)
    assert ndimage.label(near | (f < 0))[1] > 10, "thresholds alone would shatter"
    assert ndimage.label(outer < 0)[1] == 1


def ripple(h: float, smoothing: float, monkeypatch: pytest.MonkeyPatch) -> float:
    """How deep the valleys of a corrugated surface are after dilation."""
    monkeypatch.setattr(level_set, "SMOOTHING", smoothing)
    x = np.arange(-0.06, 0.06, h)[:, None, None]
    y = np.arange(0, 0.1, h)[None, :, None]
    f = (x - 0.008 * np.cos(2 * np.pi * y / 0.05) + 0 * np.zeros((1, 1, 7))).astype(np.float32)
    outer = dilate(f, np.full_like(f, 0.0005), [h] * 3)
    heights = [crossing(np.repeat(outer[:, [j]], 5, 1), np.repeat(np.broadcast_to(x, f.shape)[:, [j]], 5, 1))
               for j in range(2, f.shape[1] - 2)]  # fmt: skip
    return float(np.ptp(heights))


def test_curvature_smooths_alike_at_any_resolution(monkeypatch: pytest.MonkeyPatch) -> None:
    smoothing = level_set.SMOOTHING
    rough = ripple(0.002, 0, monkeypatch)
    smooth, finer = ripple(0.002, smoothing, monkeypatch), ripple(0.001, smoothing, monkeypatch)
    assert rough == pytest.approx(0.016, abs=0.002)  # as deep as in f
    # Waves of that length fade by exp(-lambda T k^2) = 0.05; the clamp holds the crests, so valleys fill.
    assert smooth < 0.5 * rough
    assert finer == pytest.approx(smooth, abs=0.002)


@pytest.mark.parametrize("h", [2 / 64, 2 / 2048])
def test_steps_are_stable_at_any_resolution(h: float) -> None:
    f, s, _ = rough_ball(40, 0.02)
    scale = np.float32(h * 39)  # a ball of as many cells, but of another size
    outer, inner = dilate(f * scale, s, [h] * 3), erode(f * scale, s, [h] * 3)
    # Values stay between those that were there, but that mixed derivatives may overshoot a little.
    slack = 0.1 * scale * np.ptp(f)
    for field in (outer, inner):
        assert scale * f.min() - slack < field.min() and field.max() < scale * f.max() + slack


# Meshes ---------------------------------------------------------------------------------------------------

BOX = np.array([[-0.32, -0.2, -0.2], [0.32, 0.2, 0.2]])
HARD, FUZZY, RADIUS = np.array([-0.17, 0, 0]), np.array([0.13, 0, 0]), 0.12


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """A hard ball beside a fuzzy one: distances and kernel sizes."""
    x, y, z = lattice(BOX, 0.0045)
    hard, fuzzy = (np.sqrt((x - c[0]) ** 2 + y**2 + z**2) - RADIUS for c in (HARD, FUZZY))
    f, s = np.minimum(hard, fuzzy), np.where(hard < fuzzy, 7e-4, 0.02)
    return f.astype(np.float32), s.astype(np.float32)


@pytest.fixture(scope="module")
def few(pair: tuple[np.ndarray, np.ndarray]) -> Envelope:
    return extract(*pair, BOX)


@pytest.fixture(scope="module")
def full(pair: tuple[np.ndarray, np.ndarray]) -> Envelope:
    return extract(*pair, BOX, Options(keep_faces=1))


def distance_to(mesh: BakedMesh, points: np.ndarray) -> np.ndarray:
    return signed_distances(mesh.vertices.astype(float), mesh.faces.astype(np.int64), points)


def inside(mesh: BakedMesh, points: np.ndarray) -> np.ndarray:
    return winding_numbers(mesh.vertices.astype(float), mesh.faces.astype(np.int64), points) > INSIDE


def on_sphere(centre: np.ndarray, radius: float, count: int = 3000) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(count, 3))
    return centre + radius * x / np.linalg.norm(x, axis=1, keepdims=True)


def test_the_envelope_is_thick_where_the_kernel_is_wide(few: Envelope) -> None:
    outer, inner, facts = few.outer, few.inner, few.facts
    for mesh in (outer, inner):
        assert mesh.vertices.dtype == np.float32 and mesh.faces.dtype == np.uint32
        assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).volume > 0, "wound outwards"
    thickness = {}
    for name, centre in (("hard", HARD), ("fuzzy", FUZZY)):
        points = on_sphere(centre, RADIUS)
        points = points[(points - centre)[:, 0] * np.sign(centre[0]) > 0]  # the side away from the other ball
        gaps = [-distance_to(outer, points), distance_to(inner, points)]
        assert min(gap.min() for gap in gaps) > 0, "the surface is between the meshes"
        thickness[name] = [float(gap.mean()) for gap in gaps]
    cell = 0.0045
    reach = outward_reach([7e-4, 0.02])
    # A cell for the lattice, half a one for the push that makes up for decimation.
    assert thickness["hard"] == pytest.approx([reach[0], 0.0085], abs=1.5 * cell)
    assert thickness["fuzzy"] == pytest.approx([reach[1], 0.038], abs=1.5 * cell)
    assert sum(thickness["fuzzy"]) > 5 * sum(thickness["hard"])
    assert facts["thickness_hard"] < facts["thickness"] < facts["thickness_fuzzy"]
    assert sum(thickness["hard"]) < 0.02, "one sample is enough across the hard one"


def test_decimation_loses_nothing(few: Envelope, full: Envelope) -> None:
    cell = 0.0045
    for name, sign in (("outer", 1), ("inner", -1)):
        before, after = getattr(full, name), getattr(few, name)
        assert len(before.faces) == full.facts[f"{name}_faces"] == few.facts[f"{name}_faces_before"]
        assert len(after.faces) == few.facts[f"{name}_faces"] < 0.12 * len(before.faces)
        assert few.facts[f"{name}_drift"] <= 1
        lag = sign * distance_to(after, before.vertices.astype(float))
        assert lag.max() < 0.55 * cell, "what was in the envelope is in it, but for what nobody pushes for"
        assert lag.min() > -1.5 * cell, "and hardly more"
    inner = few.inner.vertices.astype(float)
    assert inside(few.outer, inner).all()
    assert inside(few.outer, on_sphere(HARD, RADIUS)).all()
    assert not inside(few.inner, on_sphere(HARD, RADIUS)).any()


def test_meshes_are_closed(full: Envelope) -> None:
    for mesh in (full.outer, full.inner):
        assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).is_watertight


def small_ball() -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    box = np.array([[-0.3, -0.25, -0.2], [0.2, 0.25, 0.3]])
    x, y, z = lattice(box, 0.01)
    f = np.sqrt(x**2 + y**2 + z**2) - 0.1
    return f.astype(np.float32), np.full(f.shape, 7e-4, np.float32), box, 0.01


def test_small_pieces_are_dropped_unless_rays_saw_them() -> None:
    f, s, box, _ = small_ball()
    f[6, 40, 8] = -0.005
    envelope = extract(f, s, box)
    assert envelope.facts["outer_pieces_dropped"] == 1
    assert envelope.outer.vertices.min(0)[0] > -0.15
    keep = np.zeros(np.subtract(f.shape, 1), np.bool_)
    keep[6, 40, 8] = True
    kept = extract(f, s, box, keep=keep)
    assert kept.facts["outer_pieces_dropped"] == 0 and kept.facts["cells_added"] == 1
    middle = box[0] + (np.array([[6, 40, 8]]) + 0.5) * 0.01
    assert inside(kept.outer, middle).all() and not inside(envelope.outer, middle).any()


def test_a_plate_that_the_field_missed_is_taken_in() -> None:
    f, s, box, h = small_ball()
    keep = np.zeros(np.subtract(f.shape, 1), np.bool_)
    keep[8:40, 8:40, 42] = True  # one cell thin, beside the ball
    keep[27:33, 22:28, 20] = True  # within the ball: nothing to do
    corners = np.argwhere(np.ones((2, 2, 2))) + np.argwhere(keep)[:, None]  # (cells, 8, 3)
    points = box[0] + corners[corners[:, 0, 2] == 42].reshape(-1, 3) * h
    without, envelope = extract(f, s, box), extract(f, s, box, keep=keep)
    assert without.facts["cells_added"] == 0 and not inside(without.outer, points).any()
    assert envelope.facts["cells_added"] == 32 * 32
    assert inside(envelope.outer, points).all(), "the cells as a whole"
    assert envelope.inner.vertices.shape == without.inner.vertices.shape


def test_a_hard_surface_thinner_than_erosion_has_no_inner_mesh() -> None:
    x, y, z = lattice(BOX, 0.01)
    f = (np.maximum(np.hypot(x, y) - 0.1, np.abs(z) - 0.004)).astype(np.float32)
    envelope = extract(f, np.full_like(f, 0.005), BOX)
    assert len(envelope.inner.faces) == 0 and len(envelope.outer.faces) > 100
    assert "thickness" not in envelope.facts


def test_an_envelope_that_leaves_the_box() -> None:
    f, s, _, h = small_ball()
    shifted = np.array([[-0.3, -0.25, 0.05], [0.2, 0.25, 0.3]])  # the box begins in the middle of the ball
    half = f[:, :, 25:]
    with pytest.raises(InshaderError, match=r"surface touches the low z side .* data\.bounds larger"):
        extract(half.copy(), s[:, :, 25:].copy(), shifted)
    envelope = extract(half.copy(), s[:, :, 25:].copy(), shifted, Options(keep_faces=1, bounded=False))
    for mesh in (envelope.outer, envelope.inner):
        assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).is_watertight
        assert (mesh.vertices >= shifted[0] - 1e-6).all()
    assert inside(envelope.outer, envelope.inner.vertices.astype(float)).all()

    clear = f[:, :, 8:]  # 0.02 clear of the ball
    tail = np.array([[-0.3, -0.25, -0.12], [0.2, 0.25, 0.3]])
    assert extract(clear.copy(), s[:, :, 8:].copy(), tail).facts["cut"] == 0
    cut = extract(clear.copy(), np.full_like(clear, 0.01), tail).facts["cut"]
    assert cut == pytest.approx(outward_reach(0.01) - 0.02, abs=h / 10)
    with pytest.raises(InshaderError, match="envelope touches the low z side"):
        extract(clear.copy(), np.full_like(clear, 0.02), tail)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f, s: (np.abs(f) + 0.1, s, None), "no surface, all of the box is outside"),
        (lambda f, s: (-np.abs(f) - 0.1, s, None), "no surface, all of the box is inside"),
        (lambda f, s: (np.where(f < 0, np.nan, f), s, None), "distances that are no finite numbers"),
        (lambda f, s: (f, s * np.float32(np.inf), None), "kernel sizes that are no finite numbers"),
        (lambda f, s: (f, 0 * s, None), "kernel size of 0, expected more than 0"),
        (lambda f, s: (f, s[1:], None), "expected two alike"),
        (lambda f, s: (f, s, np.ones(f.shape, np.bool_)), r"expected \(50, 50, 50\)"),
    ],
)
def test_bad_fields_are_told(break_it: Callable[..., tuple[np.ndarray, ...]], message: str) -> None:
    f, s, box, _ = small_ball()
    f, s, keep = break_it(f, s)
    with pytest.raises(InshaderError, match=message):
        extract(f, s, box, keep=keep)


def test_a_surface_of_crumbs_only_is_told() -> None:
    f, s, box, _ = small_ball()
    f = np.full_like(f, 0.2)
    f[20, 20, 20] = -0.005
    with pytest.raises(InshaderError, match="smaller than 4 cells"):
        extract(f, s, box)
