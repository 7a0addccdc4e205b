"""The one matrix product of small networks: sums that stay in vector registers.

LLVM turns a loop over outputs into vectors but writes every partial sum back to memory. So the tile of sums
is spelt out here in its vectors, which LLVM then maps to whatever the machine has; their order is fixed.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16  # floats a vector; rows of matrices are padded to it
ROWS, VECTORS = 4, 2  # of a tile: 8 sums hide the latency of a multiply-add


def _tile(rows: int, vectors: int) -> Any:
    """``add_product`` for a block of ``rows`` rows and ``vectors`` vectors."""
    vector, zeros = (
        ir.VectorType(ir.FloatType(), LANES),
        ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES),
    )
    anything = ir.Constant(vector, ir.Undefined)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        c, c0, c_row, a, a0, a_row, a_step, b, b0, b_row, depth = args
        word = c0.type
        pointers = [
            context.make_array(signature.args[k])(context, builder, value).data
            for k, value in ((0, c), (3, a), (7, b))
        ]

        def at(which: int, start: Any, row: Any, step: Any, lane: int) -> Any:
            """Address of element start + row * step + lane of c, a or b."""
            index = builder.add(start, builder.add(builder.mul(row, step), word(lane)))
            return builder.gep(pointers[which], [index])

        def run(which: int, start: Any, row: Any, step: Any) -> list[Any]:
            """Addresses of the vectors from there on."""
            addresses = (at(which, start, row, step, LANES * v) for v in range(vectors))
            return [builder.bitcast(address, vector.as_pointer()) for address in addresses]

        places = [run(0, c0, word(r), c_row) for r in range(rows)]
        sums = [
            [cgutils.alloca_once_value(builder, builder.load(place, align=4)) for place in row]
            for row in places
        ]
        with cgutils.for_range(builder, depth) as loop:
            right = [builder.load(place, align=4) for place in run(2, b0, loop.index, b_row)]
            column = builder.add(a0, builder.mul(loop.index, a_step))
            for r in range(rows):
                scalar = builder.load(at(1, column, word(r), a_row, 0))
                one = builder.insert_element(anything, scalar, ir.IntType(32)(0))
                left = builder.shuffle_vector(one, anything, zeros)
                for v in range(vectors):
                    product = builder.fmul(left, right[v], flags=("contract",))
                    total = builder.fadd(builder.load(sums[r][v]), product, flags=("contract",))
                    builder.store(total, sums[r][v])
        for r in range(rows):
            for v in range(vectors):
                builder.store(builder.load(sums[r][v]), places[r][v], align=4)
        return context.get_dummy_value()

    @intrinsic  # type: ignore[untyped-decorator]
    def tile(typing: Any, c, c0, c_row, a, a0, a_row, a_step, b, b0, b_row, depth):  # type: ignore[no-untyped-def]
        return types.void(c, c0, c_row, a, a0, a_row, a_step, b, b0, b_row, depth), codegen

    return tile


_block, _column, _strip, _vector = _tile(ROWS, VECTORS), _tile(ROWS, 1), _tile(1, VECTORS), _tile(1, 1)


@njit
def add_product(c, c0, c_row, a, a0, a_row, a_step, b, b0, b_row, height, width, depth):
    """C += A B on flat float32 arrays, C (height, width), A (height, depth), B (depth, width).

    Row i of C starts at c0 + i c_row, of B at b0 + i b_row; A[i, k] is at a0 + i a_row + k a_step, so that
    A may be a transpose. ``width`` is a multiple of LANES; all integers are int64.
    """
    wide = width // (LANES * VECTORS) * (LANES * VECTORS)
    tall = height // ROWS * ROWS
    for i in range(0, tall, ROWS):
        ci, ai = c0 + i * c_row, a0 + i * a_row
        for j in range(0, wide, LANES * VECTORS):
            _block(c, ci + j, c_row, a, ai, a_row, a_step, b, b0 + j, b_row, depth)
        if wide < width:
            _column(c, ci + wide, c_row, a, ai, a_row, a_step, b, b0 + wide, b_row, depth)
    for i in range(tall, height):
        ci, ai = c0 + i * c_row, a0 + i * a_row
        for j in range(0, wide, LANES * VECTORS):
            _strip(c, ci + j, c_row, a, ai, a_row, a_step, b, b0 + j, b_row, depth)
        if wide < width:
            _vector(c, ci + wide, c_row, a, ai, a_row, a_step, b, b0 + wide, b_row, depth)
