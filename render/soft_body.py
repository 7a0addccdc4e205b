"""A soft body: the cage falls, is squeezed by the floor, and comes to rest.

Position-based dynamics: a step moves the vertices by their velocities, then back to where the constraints
hold, and what they moved in all is the velocity. The constraints are the lengths of the edges and the volumes
of the tetrahedra, each with a compliance, which makes their stiffness independent of the step's length; and
the floor, which nothing goes below. A frame is cut into many steps with one round of the constraints each,
rather than one step with many rounds.

Constraints are solved one after another where they share a vertex. Those of one colour share none, so that a
colour is solved at once.

Sources: Müller, Heidelberger, Hennix and Ratcliff, "Position Based Dynamics", 2007: the scheme, and the
damping of section 3.5. Macklin, Müller and Chentanez, "XPBD", 2016: compliances, equation 18. Macklin et al.,
"Small Steps in Physics Simulation", 2019. Macklin et al., "Unified Particle Physics", 2014, section 6.1:
friction. Our choice is how compliances follow from the material.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from render.cage import Cage, Points, check_volumes, signed_volumes, volume_slopes
from render.errors import InshaderError

FRAME = 1 / 60  # seconds
MOST_STEPS = 8  # times those of the material, for a frame that would turn a tetrahedron inside out


@dataclass(frozen=True)
class Material:
    """Of what a body is made, its density being 1, and where: world units and seconds.

    Attributes:
        stiffness: Young's modulus, by the edges: under its own weight, a column of height h sinks by
            gravity h / (2 stiffness) of it.
        bulk: modulus of the volumes, much above the stiffness.
        damping: how fast motion against the body as a whole dies away, as exp(-damping t).
        friction: of the floor, Coulomb's coefficient.
        gravity: acceleration against ``up``.
        steps: in a frame.

    Raises:
        InshaderError: one of them is negative, not finite, or 0 where nothing would hold the body together.
    """

    stiffness: float = 40.0
    bulk: float = 400.0
    damping: float = 6.0
    friction: float = 0.5
    gravity: float = 2.0
    steps: int = 3

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            above = name in ("stiffness", "bulk", "steps")
            if not (math.isfinite(value) and (value > 0 if above else value >= 0)):
                raise InshaderError(
                    f"a soft body's {name} is {value}: it must be {'above 0' if above else '0 or more'}"
                )


@dataclass(frozen=True, eq=False)
class _Lengths:
    """Constraints of the lengths of edges, no two of which share a vertex."""

    one: NDArray[np.int64]  # (m,) of the ends
    other: NDArray[np.int64]
    weights: Points  # (2, m, 1) inverse masses of the ends
    rest: Points  # (m,)
    compliance: Points  # (m,)

    def solve(self, x: Points, dt: float) -> None:
        x_one, x_other = x[self.one], x[self.other]
        d = x_one - x_other  # (m, 3)
        length = np.sqrt(np.einsum("mc,mc->m", d, d))
        give = self.weights.sum(0)[:, 0] + self.compliance / dt**2
        d *= ((self.rest - length) / (give * np.maximum(length, 1e-12)))[:, None]
        x[self.one] = x_one + self.weights[0] * d
        x[self.other] = x_other - self.weights[1] * d


@dataclass(frozen=True, eq=False)
class _Volumes:
    """Constraints of six times the volumes of tetrahedra, no two of which share a vertex."""

    corners: NDArray[np.int32]  # (m, 4)
    weights: Points  # (m, 4, 1) inverse masses of the corners
    rest: Points  # (m,)
    compliance: Points  # (m,)

    def solve(self, x: Points, dt: float) -> None:
        at = x[self.corners]
        slopes = np.empty_like(at)  # (m, 4, 3)
        slopes[:, 1:], volume = volume_slopes(at)
        slopes[:, 0] = -slopes[:, 1:].sum(1)
        moves = self.weights * slopes
        give = np.einsum("mkc,mkc->m", moves, slopes) + self.compliance / dt**2
        moves *= ((self.rest - volume) / give)[:, None, None]
        x[self.corners] = at + moves


class SoftBody:
    """A cage in motion.

    Attributes:
        vertices, velocities: (v, 3) now.
        seconds: how long it has been moving.

    Args:
        up: away from the floor.
        floor: its height along ``up``.
    """

    def __init__(self, cage: Cage, up: ArrayLike, floor: float, material: Material | None = None) -> None:
        self.cage, self.material = cage, Material() if material is None else material
        self.up = np.asarray(up, np.float64) / np.linalg.norm(np.asarray(up, np.float64))
        self.floor = float(floor)
        shares = np.repeat(cage.volumes / 4, 4)
        self.masses = np.bincount(cage.tetrahedra.ravel(), shares, len(cage.vertices))
        self._constraints: list[_Lengths | _Volumes] = [*self._lengths(), *self._volumes()]
        self.reset()

    def reset(self, vertices: Points | None = None) -> None:
        """Back to where the cage is at rest, or to a pose's vertices (v, 3), without motion."""
        self.vertices = (self.cage.vertices if vertices is None else vertices).copy()
        self.velocities = np.zeros_like(self.vertices)
        self.seconds = 0.0

    def advance(self, frames: int = 1) -> None:
        """Go on for so many frames of ``FRAME`` seconds.

        Raises:
            InshaderError: a tetrahedron was turned inside out; the line names its cell. The body is left as
                it was after the last whole frame.
        """
        for _ in range(frames):
            self.vertices, self.velocities = self._frame(self.material.steps)
            self.seconds += FRAME

    def _frame(self, steps: int) -> tuple[Points, Points]:
        """Vertices and velocities a frame later; what fails is tried with more steps, as they are stiffer."""
        x, v = self.vertices, self.velocities
        for _ in range(steps):
            x, v = self._step(x, v, FRAME / steps)
        try:
            check_volumes(self.cage, signed_volumes(x, self.cage.tetrahedra))
        except InshaderError:
            if 2 * steps > MOST_STEPS * self.material.steps:
                raise
            return self._frame(2 * steps)
        return x, v

    def energy(self) -> float:
        """Of motion and of height above the floor, without that of the constraints."""
        heights = self.vertices @ self.up - self.floor
        motion = 0.5 * np.einsum("vc,vc->v", self.velocities, self.velocities)
        return float(self.masses @ (motion + self.material.gravity * heights))

    def _step(self, x: Points, v: Points, dt: float) -> tuple[Points, Points]:
        before = x
        v = self._damped(x, v - self.material.gravity * dt * self.up, dt)
        x = x + dt * v
        for constraint in self._constraints:
            constraint.solve(x, dt)
        self._rest_on_floor(x, before)
        return x, (x - before) / dt

    def _damped(self, x: Points, v: Points, dt: float) -> Points:
        """Velocities drawn towards those of a rigid body that moves and turns as the whole does."""
        share = self.masses / self.masses.sum()
        r, mean = x - share @ x, share @ v
        spin = (share[:, None] * np.cross(r, v)).sum(0)
        inertia = np.einsum("v,vc,vc->", share, r, r) * np.eye(3) - (share[:, None] * r).T @ r
        rigid: Points = mean + np.cross(np.linalg.solve(inertia, spin), r)
        return rigid + math.exp(-self.material.damping * dt) * (v - rigid)

    def _rest_on_floor(self, x: Points, before: Points) -> None:
        """Lift what is below the floor, and hold it back along the floor by friction."""
        depth = self.floor - x @ self.up
        under = np.nonzero(depth > 0)[0]
        slide = x[under] - before[under]
        slide -= (slide @ self.up)[:, None] * self.up
        length = np.linalg.norm(slide, axis=1)
        held = np.minimum(self.material.friction * depth[under], length) / np.maximum(length, 1e-30)
        x[under] += depth[under, None] * self.up - held[:, None] * slide

    def _lengths(self) -> list[_Lengths]:
        """The energy of an edge is that of its strain in its share of the volumes around it."""
        pairs = np.array([[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]])
        every = np.sort(self.cage.tetrahedra[:, pairs].reshape(-1, 2), 1)  # (6 n, 2)
        ends, number = np.unique(every, axis=0, return_inverse=True)
        shares = np.bincount(number.ravel(), np.repeat(self.cage.volumes / 6, 6))
        rest = np.linalg.norm(self.cage.vertices[ends[:, 0]] - self.cage.vertices[ends[:, 1]], axis=1)
        weights = 1 / self.masses[ends.T][..., None]
        # In a voxel of volume 1, stretched along an axis, the edges along it have 1/9 of the volume, those
        # across, with half the strain, 4/9: so edges of modulus 1 make a body of modulus 2/9.
        compliance = 2 / 9 * rest**2 / (self.material.stiffness * shares)
        return [
            _Lengths(ends[at, 0], ends[at, 1], weights[:, at], rest[at], compliance[at])
            for at in colours(ends)
        ]

    def _volumes(self) -> list[_Volumes]:
        corners, rest = self.cage.tetrahedra, 6 * self.cage.volumes
        weights = 1 / self.masses[corners][..., None]
        compliance = 6 * rest / self.material.bulk  # its energy is bulk / 2 (V / V_rest - 1)^2 V_rest
        return [_Volumes(corners[at], weights[at], rest[at], compliance[at]) for at in colours(corners)]


def colours(constraints: NDArray[np.int32]) -> list[NDArray[np.int64]]:
    """Numbers of constraints (n, k), each of k vertices, in groups within which no vertex is shared.

    Each takes the first group that is free, in the order in which they come.
    """
    taken: dict[int, int] = {}  # bits of the groups, by vertex
    groups: list[list[int]] = []
    for number, vertices in enumerate(constraints.tolist()):
        bits = 0
        for vertex in vertices:
            bits |= taken.get(vertex, 0)
        group = (~bits & (bits + 1)).bit_length() - 1  # the lowest 0
        if group == len(groups):
            groups.append([])
        groups[group].append(number)
        for vertex in vertices:
            taken[vertex] = taken.get(vertex, 0) | 1 << group
    return [np.array(group) for group in groups]
