// Rays from anywhere: what they gather of the shell.
#define BVH 1
#include "drivers/shell_number.glsl"
#include "drivers/shell_ray.glsl"
layout(std430, binding = 3) readonly buffer cast_rays { vec4 rays[]; };  // origin, unit direction
// value, coverage; T, cost, length
layout(std430, binding = 4) writeonly buffer cast_answers { vec4 answers[]; };

void main() {
    uint id = dispatch_id();
    if (id >= uint(u_count)) return;
    vec3 o = rays[2u * id].xyz, d = rays[2u * id + 1u].xyz;
    Walk walk = walk_start(cast_within(o));
    Sum sum = sum_of_ray(walk, 0, o, d, hit_solid(o, d));
    answers[2u * id] = vec4(sum.value, sum.coverage);
    answers[2u * id + 1u] = vec4(sum.T, sum.cost, sum.length_, 0.0);
}
