// First pass of the compute host: finds where each ray enters occupied space.
#include "common/camera.glsl"
#include "drivers/march_ray.glsl"

bool ray_enters(vec2 pixel, out uint entry) {
    vec3 o, d;
    camera_ray(pixel, o, d);
    Ray ray = march_ray(o, d);
    float k = ray.n > 0.0 ? march_next(ray, 0.0) : 0.0;
    entry = uint(k);
    return k < ray.n;
}

#include "drivers/enter.glsl"
