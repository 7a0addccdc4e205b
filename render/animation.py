"""Moving a shell: its cage is twisted, bent or falls as a soft body, and its meshes follow.

rig = Rig(asset)
state = {"deformation": rig.deformed(rig.shape("twist", angle=1.5))}
renderer.draw(camera, state=state)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from render.asset import BakedAsset, BakedMesh
from render.cage import CELLS, Points, Pose, build_cage, embed, pose
from render.deformation import bend, twist
from render.errors import InshaderError
from render.soft_body import FRAME, Material, SoftBody

SHAPES = ("twist", "bend")
MOTIONS = (*SHAPES, "soft")
SWINGS = {"twist": np.pi / 2, "bend": np.pi / 3}  # radians to either side, in a film
PERIOD = 4.0  # seconds of a swing there and back
DROP = 0.3  # world units between a soft body and the floor


@dataclass(frozen=True, eq=False)
class Deformation:
    """A deformed shell, as the driver ``shell`` draws it.

    Attributes:
        pose: of the cage, through which rays are led back to where the field was learnt.
        meshes: those of the asset where they are now.
    """

    pose: Pose
    meshes: Mapping[str, BakedMesh]


def check_deformation(asset: BakedAsset, deformation: Deformation) -> None:
    """Raise InshaderError unless it is one of the asset's meshes."""
    for name, mesh in asset.meshes.items():
        moved = deformation.meshes.get(name)
        if moved is None or moved.vertices.shape != mesh.vertices.shape or moved.faces is not mesh.faces:
            raise InshaderError(f"the deformation is not of this asset: the mesh {name} is another one")


class Rig:
    """A shell's meshes in their cage.

    Args:
        cells: voxels of the cage along its longest side.

    Raises:
        InshaderError: the asset is no shell, or ``build_cage`` raises it.
    """

    def __init__(self, asset: BakedAsset, cells: int = CELLS) -> None:
        if "outer" not in asset.meshes:
            raise InshaderError(
                f"an asset of the driver {asset.driver} has no meshes to be moved, a shell has"
            )
        self.meshes, self.up = asset.meshes, asset.up.astype(np.float64)
        self.cage = build_cage(list(asset.meshes.values()), cells)
        self.embeddings = {
            name: embed(self.cage, mesh.vertices.astype(np.float64)) for name, mesh in self.meshes.items()
        }

    def deformed(self, vertices: Points) -> Deformation:
        """With the cage's vertices (v, 3) there.

        Raises:
            InshaderError: a tetrahedron is turned inside out, or flat; the line names its cell.
        """
        posed = pose(self.cage, vertices)
        moved = {
            name: BakedMesh(self.embeddings[name].points(posed).astype(np.float32), mesh.faces)
            for name, mesh in self.meshes.items()
        }
        return Deformation(posed, moved)

    def shape(self, kind: str, angle: float, axis: ArrayLike | None = None) -> Points:
        """The cage's vertices (v, 3) twisted or bent, its foot held where it is.

        Args:
            kind: one of ``SHAPES``.
            angle: radians between foot and head.
            axis: from the foot to the head; None: the asset's up.
        """
        along = np.asarray(self.up if axis is None else axis, np.float64)
        along = along / np.linalg.norm(along)
        x = self.cage.vertices
        middle, heights = 0.5 * (x.min(0) + x.max(0)), x @ along
        height = float(np.ptp(heights))
        foot = middle + (heights.min() - middle @ along) * along
        if kind == "twist":
            return twist(x, angle / height, along, foot)
        towards = np.eye(3)[np.abs(along).argmin()]
        return bend(x, angle / height, along, towards, foot, (0.0, height))

    def soft_body(self, material: Material | None = None) -> SoftBody:
        """The cage as a soft body, above a floor."""
        up = self.up / np.linalg.norm(self.up)
        return SoftBody(self.cage, up, float((self.cage.vertices @ up).min()) - DROP, material)


def motion(rig: Rig, kind: str, fps: int) -> Iterator[Deformation]:
    """Endless frames of one of ``MOTIONS``: a swing to and fro, or a fall onto the floor.

    Raises:
        InshaderError: a tetrahedron is turned inside out, or flat.
    """
    if kind == "soft":
        body = rig.soft_body()
        while True:
            yield rig.deformed(body.vertices)
            body.advance(round(1 / (fps * FRAME)))
    for frame in itertools.count():
        angle = SWINGS[kind] * np.sin(2 * np.pi * frame / (fps * PERIOD))
        yield rig.deformed(rig.shape(kind, angle))
