"""Run a GLSL function on arrays: how tests hold shader code against its numpy twin."""

from __future__ import annotations

from collections.abc import Mapping

import moderngl
import numpy as np
from numpy.typing import NDArray

from render.glsl import COMPUTE, compose_text, compute_program
from render.parts import DeviceTables, Parts

_MAIN = """
layout(local_size_x = 64) in;
layout(std430, binding = 0) readonly buffer probe_in {{ vec4 probe_inputs[]; }};
layout(std430, binding = 1) writeonly buffer probe_out {{ vec4 probe_outputs[]; }};
uniform int u_rows;

void main() {{
    int row = int(gl_GlobalInvocationID.x);
    if (row >= u_rows) return;
{body}
}}
"""


def run(
    ctx: moderngl.Context,
    code: str,
    call: str,
    inputs: Mapping[str, NDArray[np.floating]],
    outputs: Mapping[str, int],
    parts: Parts | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Run ``call`` once per row.

    Args:
        code: GLSL that defines what ``call`` uses; may ``#include``, and ``#asset`` where ``parts`` is given.
        call: a statement. For every input and output there is a ``vec4 name[]`` long enough for its width.
        inputs: (n, width) each, passed as float32.
        outputs: name -> width.
        parts: of an asset, for the compute host.

    Returns:
        name -> (n, width) float32.

    Raises:
        InshaderError: the code does not compile.
    """
    columns = [_blocks(np.asarray(array, np.float32)) for array in inputs.values()]
    rows = len(columns[0])
    packed = np.concatenate(columns, 1)  # (n, vec4, 4)
    taken = dict(zip(inputs, (column.shape[1] for column in columns), strict=True))
    given = {name: -(-width // 4) for name, width in outputs.items()}
    body = [
        *_moves(taken, "vec4 {name}[{count}];", "{name}[{k}] = probe_inputs[row * {total} + {at}];"),
        *_moves(given, "vec4 {name}[{count}];", ""),
        call,
        *_moves(given, "", "probe_outputs[row * {total} + {at}] = {name}[{k}];"),
    ]
    text = code + _MAIN.format(body="\n".join(f"    {line}" for line in body if line))
    source = compose_text(text, name="probe", version=COMPUTE, expand=parts.expand if parts else None)
    program = compute_program(ctx, source)
    program["u_rows"] = rows
    tables = DeviceTables(ctx, parts) if parts else None
    if tables is not None:
        tables.bind([program])
    total = sum(given.values())
    buffers = [ctx.buffer(packed.tobytes()), ctx.buffer(reserve=max(16, 16 * rows * total))]
    for binding, buffer in enumerate(buffers):
        buffer.bind_to_storage_buffer(binding)
    program.run(-(-rows // 64))
    ctx.finish()
    result = np.frombuffer(buffers[1].read(), np.float32)[: rows * total * 4].reshape(rows, total * 4)
    for buffer in buffers:
        buffer.release()
    program.release()
    if tables is not None:
        tables.release()
    found, start = {}, 0
    for name, count in given.items():
        found[name] = result[:, start : start + outputs[name]]
        start += 4 * count
    return found


def _blocks(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, width) -> (n, vec4, 4), padded with zeros."""
    return np.pad(array, ((0, 0), (0, -array.shape[1] % 4))).reshape(len(array), -1, 4)


def _moves(counts: Mapping[str, int], declaration: str, move: str) -> list[str]:
    """A declaration per name, and a line per vec4 of it; ``at`` counts them over all names."""
    total, at, lines = sum(counts.values()), 0, []
    for name, count in counts.items():
        lines.append(declaration.format(name=name, count=count))
        for k in range(count):
            lines.append(move.format(name=name, k=k, at=at, total=total))
            at += 1
    return lines
