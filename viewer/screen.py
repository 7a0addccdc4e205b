"""The last step to the screen: a drawn frame at any resolution into a framebuffer, with exposure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import moderngl

from render.renderer import MODES

VERTEX = """
#version 330
void main() {
    vec2 corner = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
    gl_Position = vec4(corner, 0.0, 1.0);
}
"""
# MODE, EXACT and EXPOSED are macros: software rasterisers run both sides of a branch.
FRAGMENT = """
uniform sampler2D picture;  // of the renderer, row 0 is the top
uniform vec2 size;          // of the framebuffer
uniform float reach;        // of the depth that is shown black
uniform vec3 shift;         // from the asset's background to the wanted one
uniform float gain;         // of linear light
out vec4 colour;

vec3 linear_from_srgb(vec3 s) {
    return mix(pow((max(s, 0.0) + 0.055) / 1.055, vec3(2.4)), s / 12.92, lessThanEqual(s, vec3(0.04045)));
}

vec3 srgb_from_linear(vec3 l) {
    vec3 curve = 1.055 * pow(max(l, 0.0), vec3(1.0 / 2.4)) - 0.055;
    return mix(curve, l * 12.92, lessThanEqual(l, vec3(0.0031308)));
}

void main() {
    vec2 place = vec2(gl_FragCoord.x, size.y - gl_FragCoord.y);
#if EXACT
    vec4 value = texelFetch(picture, ivec2(place), 0);
#elif MODE == 4  // there is nothing between two numbers
    vec4 value = texelFetch(picture, ivec2(place * vec2(textureSize(picture, 0)) / size), 0);
#else
    vec4 value = texture(picture, place / size);
#endif
#if MODE == 0
    value.rgb += (1.0 - value.a) * shift;
#elif MODE == 1
    value.rgb = vec3(value.a * max(1.0 - value.r / reach, 0.0));
#elif MODE == 2
    value.rgb = value.a * (0.5 + 0.5 * value.rgb);
#elif MODE == 3
    value.rgb = vec3(value.r / (value.r + 16.0));
#elif MODE == 4  // far apart for numbers that are near each other
    value.rgb = value.r < 0.0 ? vec3(0.0) : 0.2 + 0.8 * fract(value.r * vec3(0.75488, 0.56984, 0.43016));
#elif MODE == 6
    value.rgb = vec3(value.r / (value.r + 0.1));
#endif
#if EXPOSED
    value.rgb = srgb_from_linear(gain * linear_from_srgb(value.rgb));
#endif
    colour = vec4(value.rgb, 1.0);
}
"""


class Screen:
    """The programs that show frames, compiled when first wanted."""

    def __init__(self, ctx: moderngl.Context) -> None:
        self.ctx = ctx
        self.arrays: dict[tuple[int, bool, bool], moderngl.VertexArray] = {}
        self.sampler = ctx.sampler(repeat_x=False, repeat_y=False, filter=(moderngl.LINEAR, moderngl.LINEAR))

    def show(
        self,
        texture: moderngl.Texture,
        target: moderngl.Framebuffer,
        size: tuple[int, int],
        mode: str,
        reach: float = 1.0,
        shift: Sequence[float] = (0.0, 0.0, 0.0),
        exposure: float = 0.0,
    ) -> None:
        """Fill ``target``, ``size`` pixels, with a frame's ``texture``.

        Args:
            reach: distance in world units that is shown black as depth.
            shift: the wanted background less the asset's.
            exposure: of colours, in stops.
        """
        target.use()
        self.ctx.viewport = (0, 0, size[0], size[1])
        self.ctx.enable_only(moderngl.NOTHING)
        array = self._array(MODES[mode], texture.size == size, mode == "colour" and exposure != 0)
        values = {"size": size, "reach": reach, "shift": tuple(shift), "gain": 2.0**exposure}
        program: Any = array.program
        for name, value in values.items():
            if name in program:  # compilers drop what is not used
                program[name] = value
        texture.use(0)
        self.sampler.use(0)
        array.render(moderngl.TRIANGLES, vertices=3)
        self.sampler.clear(0)

    def _array(self, mode: int, exact: bool, exposed: bool) -> moderngl.VertexArray:
        key = mode, exact, exposed
        if key not in self.arrays:
            defines = f"#define MODE {mode}\n#define EXACT {exact:d}\n#define EXPOSED {exposed:d}\n"
            program = self.ctx.program(VERTEX, f"#version 330\n{defines}{FRAGMENT}")
            self.arrays[key] = self.ctx.vertex_array(program, [])
        return self.arrays[key]

    def release(self) -> None:
        """Free what is held on the GPU."""
        for array in self.arrays.values():
            array.program.release()
            array.release()
        self.sampler.release()
