"""Triangles in a tree of boxes, so that a ray looks at few of them; ``shaders/common/bvh.glsl`` walks it.

The tree is complete: node 1 is the root, the children of k are 2 k and 2 k + 1, the last half of all nodes
are the leaves, of ``LEAF`` triangles each. Every box is split at the median of its triangles' middles, along
the axis on which these spread most (Kay and Kajiya 1986). The last triangle is repeated until all leaves are
full.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEAF = 4  # as BVH_LEAF of the shader
Floats = NDArray[np.float32]


def tree_order(triangles: Floats) -> NDArray[np.int64]:
    """Which of triangles (n, 3, 3), n at least 1, stands where in the leaves (leaves * LEAF,)."""
    n = len(triangles)
    leaves = 1 << max(-(-n // LEAF) - 1, 0).bit_length()
    order = np.minimum(np.arange(leaves * LEAF), n - 1)
    middles = triangles.mean(1)  # (n, 3)
    nodes = 1
    while nodes < leaves:
        held = middles[order].reshape(nodes, -1, 3)
        axis = np.ptp(held, axis=1).argmax(-1)  # (nodes,)
        along = np.take_along_axis(held, axis[:, None, None], 2)[..., 0]
        sorting = along.argsort(-1, kind="stable")
        order = np.take_along_axis(order.reshape(nodes, -1), sorting, 1).ravel()
        nodes *= 2
    return order


def boxes_of(ordered: Floats) -> Floats:
    """Boxes (2 leaves, 2, 3) by node around triangles (leaves * LEAF, 3, 3) in the order of the leaves.

    Triangles that have moved a little may keep the order that ``tree_order`` found before.
    """
    nodes = len(ordered) // LEAF
    corners = ordered.reshape(nodes, -1, 3)
    boxes = np.zeros((2 * nodes, 2, 3), np.float32)
    boxes[nodes:] = np.stack([corners.min(1), corners.max(1)], 1)
    while nodes > 1:
        children = boxes[nodes : 2 * nodes].reshape(nodes // 2, 2, 2, 3)
        nodes //= 2
        boxes[nodes : 2 * nodes] = np.stack([children[:, :, 0].min(1), children[:, :, 1].max(1)], 1)
    return boxes
