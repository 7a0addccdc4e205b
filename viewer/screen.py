"""The last step to the screen: a drawn frame at any resolution into a framebuffer, with exposure.

Besides the renderer's modes there are "truth", a picture that is shown like a drawn one, and "error", how far
a drawn one is from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import moderngl
import numpy as np
from numpy.typing import NDArray

from render.renderer import MODES

GREY = 0.15  # beside a picture that does not fill its framebuffer
DARKEST = 0.08  # of depths: what is far away is still told from nothing
TONES = {"GREY": GREY, "DARKEST": DARKEST}
BAR = 2  # pixels of the bar between two halves
VERTEX = """
#version 330
void main() {
    vec2 corner = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
    gl_Position = vec4(corner, 0.0, 1.0);
}
"""
# MODE, EXACT, EXPOSED, FILLS and SHIFTED are macros: software rasterisers run both sides of a branch.
FRAGMENT = """
uniform sampler2D picture;  // of the renderer, row 0 is the top
uniform sampler2D truth;    // of the same view
uniform float height;       // of the framebuffer
uniform vec4 area;          // left, top, width and height of where the picture lies in it
uniform vec2 reach;         // of depths: shown white, and darkest
uniform vec3 shift;         // from the asset's background to the wanted one
uniform float gain;         // of linear light
uniform float peak;         // the value that an error of 1 is measured by
uniform float error_gain;
out vec4 colour;

vec3 linear_from_srgb(vec3 s) {
    return mix(pow((max(s, 0.0) + 0.055) / 1.055, vec3(2.4)), s / 12.92, lessThanEqual(s, vec3(0.04045)));
}

vec3 srgb_from_linear(vec3 l) {
    vec3 curve = 1.055 * pow(max(l, 0.0), vec3(1.0 / 2.4)) - 0.055;
    return mix(curve, l * 12.92, lessThanEqual(l, vec3(0.0031308)));
}

void main() {
    vec2 place = vec2(gl_FragCoord.x, height - gl_FragCoord.y);
#if !FILLS
    place -= area.xy;
#endif
    vec2 uv = place / area.zw;
#if !FILLS
    if (any(lessThan(uv, vec2(0.0))) || any(greaterThan(uv, vec2(1.0)))) {
        colour = vec4(vec3(GREY), 1.0);
        return;
    }
#endif
#if EXACT
    vec4 value = texelFetch(picture, ivec2(place), 0);
#elif MODE == 4 || MODE == 5  // there is nothing between two numbers
    vec4 value = texelFetch(picture, ivec2(uv * vec2(textureSize(picture, 0))), 0);
#else
    vec4 value = texture(picture, uv);
#endif
#if MODE == 0 && SHIFTED
    value.rgb += (1.0 - value.a) * shift;
#elif MODE == 1
    float far = clamp((value.r - reach.x) / (reach.y - reach.x), 0.0, 1.0);
    value.rgb = vec3(value.a * mix(1.0, DARKEST, far));
#elif MODE == 2
    value.rgb = value.a * (0.5 + 0.5 * value.rgb);
#elif MODE == 3
    value.rgb = vec3(value.r / (value.r + 16.0));
#elif MODE == 4  // far apart for numbers that are near each other
    value.rgb = value.r < 0.0 ? vec3(0.0) : 0.2 + 0.8 * fract(value.r * vec3(0.75488, 0.56984, 0.43016));
#elif MODE == 5
    ivec2 texel = ivec2(uv * vec2(textureSize(truth, 0)));
    value.rgb = error_gain * abs(clamp(value.rgb / peak, 0.0, 1.0) - texelFetch(truth, texel, 0).rgb / peak);
#elif MODE == 6
    value.rgb = vec3(value.r / (value.r + 0.1));
#endif
#if EXPOSED
    value.rgb = srgb_from_linear(gain * linear_from_srgb(value.rgb));
#endif
    colour = vec4(value.rgb, 1.0);
}
"""


class Kind(NamedTuple):
    """What a program need not ask at every pixel."""

    exact: bool  # the picture's pixels are the framebuffer's
    exposed: bool
    fills: bool  # there is nothing beside it
    shifted: bool  # the background is another one than the asset's


class Screen:
    """The programs that show frames, compiled when first wanted, and textures beside the renderer's.

    Attributes:
        truth: what errors are measured against.
    """

    def __init__(self, ctx: moderngl.Context) -> None:
        self.ctx = ctx
        self.arrays: dict[tuple[int, Kind], moderngl.VertexArray] = {}
        self.sampler = ctx.sampler(repeat_x=False, repeat_y=False, filter=(moderngl.LINEAR, moderngl.LINEAR))
        self.truth: moderngl.Texture | None = None
        self._copy: tuple[moderngl.Texture, moderngl.Framebuffer] | None = None

    def set_truth(self, colour: NDArray[np.float32], coverage: NDArray[np.float32] | None) -> None:
        """The picture (h, w, 3) and its coverage (h, w) that is ``truth`` from now on."""
        h, w = colour.shape[:2]
        alpha = np.ones((h, w), np.float32) if coverage is None else coverage
        if self.truth is not None:
            self.truth.release()
        data = np.concatenate([colour, alpha.reshape(h, w, 1)], -1).astype("f4")
        self.truth = self.ctx.texture((w, h), 4, data.tobytes(), dtype="f4")

    def copied(self, texture: moderngl.Texture) -> moderngl.Texture:
        """A copy of the renderer's texture, good until the next one."""
        kind = texture.size, texture.dtype
        if self._copy is None or (self._copy[0].size, self._copy[0].dtype) != kind:
            self._forget_copy()
            held = self.ctx.texture(texture.size, 4, dtype=texture.dtype)
            self._copy = held, self.ctx.framebuffer([held])
        held, target = self._copy
        source = self.ctx.framebuffer([texture])
        if self.ctx.version_code >= 430:
            self.ctx.memory_barrier()  # a compute shader wrote it
        self.ctx.copy_framebuffer(target, source)
        source.release()
        return held

    def show(
        self,
        texture: moderngl.Texture,
        target: moderngl.Framebuffer,
        size: tuple[int, int],
        mode: str,
        reach: tuple[float, float] = (0.0, 1.0),
        shift: Sequence[float] = (0.0, 0.0, 0.0),
        exposure: float = 0.0,
        whole: bool = False,
        span: tuple[int, int] | None = None,
        peak: float = 1.0,
        error_gain: float = 1.0,
    ) -> None:
        """Fill ``target``, ``size`` pixels, with a frame's ``texture``.

        Args:
            mode: of the renderer's, or ``truth``, ``error`` or ``pathtrace``.
            reach: distances in world units that are shown white and darkest as depth.
            shift: the wanted background less the asset's.
            exposure: of colours, in stops.
            whole: the picture keeps its shape: its height is the framebuffer's, grey or nothing is beside it.
            span: the columns that are drawn, from and up to; None: all of them.
            peak, error_gain: an error is the difference over ``peak`` times ``error_gain``.
        """
        target.use()
        self.ctx.viewport = (0, 0, size[0], size[1])
        self.ctx.enable_only(moderngl.NOTHING)
        coloured = mode in ("colour", "truth", "pathtrace")
        if mode == "pathtrace":  # its environment is its background
            shift = (0.0, 0.0, 0.0)
        area = fitted(texture.size, size) if whole else (0.0, 0.0, *map(float, size))
        exact = texture.size == area[2:] and area[0].is_integer()
        fills = area == (0.0, 0.0, *map(float, size))
        kind = Kind(exact, coloured and exposure != 0, fills, any(shift))
        array = self._array(MODES["colour" if coloured else mode], kind)
        values = {
            "height": size[1],
            "area": area,
            "reach": reach,
            "shift": tuple(shift),
            "gain": 2.0**exposure,
            "peak": peak,
            "error_gain": error_gain,
            "picture": 0,
            "truth": 1,
        }
        program: Any = array.program
        for name, value in values.items():
            if name in program:  # compilers drop what is not used
                program[name] = value
        texture.use(0)
        self.sampler.use(0)
        if mode == "error":
            assert self.truth is not None
            self.truth.use(1)
        if span is not None:
            target.scissor = (span[0], 0, span[1] - span[0], size[1])
        array.render(moderngl.TRIANGLES, vertices=3)
        target.scissor = None  # type: ignore[assignment]  # (the stub knows no way to reset it)
        self.sampler.clear(0)

    def bar(self, target: moderngl.Framebuffer, size: tuple[int, int], column: int) -> None:
        """A bar over the border before ``column``."""
        target.clear(1.0, 1.0, 1.0, viewport=(column - BAR // 2, 0, BAR, size[1]))

    def _array(self, mode: int, kind: Kind) -> moderngl.VertexArray:
        key = mode, kind
        if key not in self.arrays:
            flags = {name.upper(): int(value) for name, value in kind._asdict().items()}
            values = {"MODE": mode, **flags, **TONES}
            defines = "".join(f"#define {name} {value}\n" for name, value in values.items())
            program = self.ctx.program(VERTEX, f"#version 330\n{defines}{FRAGMENT}")
            self.arrays[key] = self.ctx.vertex_array(program, [])
        return self.arrays[key]

    def _forget_copy(self) -> None:
        for item in reversed(self._copy or ()):
            item.release()
        self._copy = None

    def release(self) -> None:
        """Free what is held on the GPU."""
        for array in self.arrays.values():
            array.program.release()
            array.release()
        self.sampler.release()
        self._forget_copy()
        if self.truth is not None:
            self.truth.release()


def fitted(picture: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Left, top, width and height of a picture in ``size`` pixels, as ``Camera.resized`` places it."""
    w = picture[0] * size[1] / picture[1]
    return (size[0] - w) / 2, 0.0, w, float(size[1])
