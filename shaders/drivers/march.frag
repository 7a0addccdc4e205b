// Fragment host of the march driver: everything in one pass. Row 0 of the target is the picture's top row.
#include "common/camera.glsl"
#include "drivers/march.glsl"

layout(location = 0) out vec4 o_picture;
layout(location = 1) out float o_cost;

void main() {
    vec3 o, d;
    camera_ray(gl_FragCoord.xy, o, d);
    Ray ray = march_ray(o, d);
    float k = ray.n > 0.0 ? march_next(ray, 0.0) : 0.0;
    o_cost = 0.0;
    o_picture = march_nothing();
    if (k < ray.n) o_picture = march(ray, k, o_cost);
}
