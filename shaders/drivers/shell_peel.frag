// The nearest hits beyond a ray's last one, entering and leaving; the smallest stay (blending).
#include "drivers/shell_face.glsl"

uniform highp sampler2D u_walk;  // t of the last hit
uniform int u_number;            // of the peel
layout(location = 0) out vec2 o_t;

void main() {
    bool enters;
    float t = face_hit(enters);
    if (t <= (u_number > 0 ? texelFetch(u_walk, ivec2(gl_FragCoord.xy), 0).x : 0.0)) discard;
    o_t = enters ? vec2(t, 1e30) : vec2(1e30, t);
}
