// Pixels with more hits than their list holds, or more samples than are left room for: their rays are cast.
#define BVH 1
#include "common/camera.glsl"
#include "drivers/shell_number.glsl"
#include "drivers/shell_ray.glsl"
#include "drivers/shell_work.glsl"
layout(binding = 0) writeonly uniform image2D i_picture;
layout(r32f, binding = 1) writeonly uniform image2D i_cost;
uniform vec4 u_nothing;

void main() {
    uint id = dispatch_id();
    if (id >= uint(u_count)) return;
    int pixel = int(work_list[u_pixels.x * u_pixels.y - 1 - int(id)].x);
    ivec2 at = ivec2(pixel % u_pixels.x, pixel / u_pixels.x);
    vec3 o, d;
    camera_ray(vec2(at) + 0.5, o, d);
    Walk walk = walk_start(cast_within(o));
    Sum sum = sum_of_ray(walk, pixel, o, d, hit_solid(o, d));
    if (walk.broken > 0.0) atomicAdd(work_broken, 1u);
    imageStore(i_picture, at, sum.cost > 0.0 ? sum_picture(sum) : u_nothing);
    imageStore(i_cost, at, vec4(sum.cost));
}
