// Fragment host of the trace driver: everything in one pass. Row 0 of the target is the picture's top row.
#include "drivers/trace.glsl"

layout(location = 0) out vec4 o_picture;
layout(location = 1) out float o_cost;

void main() {
    Ray ray = trace_ray(gl_FragCoord.xy);
    float t = trace_next(ray, ray.t0);
    o_cost = 0.0;
    o_picture = trace_nothing();
    if (t < ray.t1) o_picture = trace(ray, t, o_cost);
}
