// First pass of the compute host: finds where each ray enters occupied space.
#include "drivers/trace_ray.glsl"

bool ray_enters(vec2 pixel, out uint entry) {
    Ray ray = trace_ray(pixel);
    float t = trace_next(ray, ray.t0);
    entry = floatBitsToUint(t);
    return t < ray.t1;
}

#include "drivers/enter.glsl"
