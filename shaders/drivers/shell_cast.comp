// Rays from anywhere: what they gather of the shell.
#include "drivers/shell_ray.glsl"

layout(local_size_x = 64) in;
layout(std430, binding = 3) readonly buffer cast_rays { vec4 rays[]; };        // origin, unit direction
layout(std430, binding = 4) writeonly buffer cast_answers { vec4 answers[]; };  // value, coverage; T, cost, length
uniform int u_count;

void main() {
    int id = int(gl_GlobalInvocationID.x);
    if (id >= u_count) return;
    vec3 o = rays[2 * id].xyz, d = rays[2 * id + 1].xyz;
    Walk walk = walk_start();
    Sum sum = sum_of_ray(walk, 0, o, d, hit_solid(o, d));
    answers[2 * id] = vec4(sum.value, sum.coverage);
    answers[2 * id + 1] = vec4(sum.T, sum.cost, sum.length_, 0.0);
}
