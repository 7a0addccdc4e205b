// First pass of an intersection: answers the rays that meet no occupied cell, and lists the others.
#include "drivers/trace_ray.glsl"
#include "drivers/ray_list.glsl"
#include "drivers/intersect_records.glsl"

uniform int u_count;

void main() {
    int i = int(dispatch_id());
    if (i >= u_count) return;
    vec4 o = records[2 * i], d = records[2 * i + 1];
    Ray ray = trace_ray_from(o.xyz, d.xyz, o.w);
    ray.t1 = min(ray.t1, d.w);
    float t = ray.t0 < ray.t1 ? trace_next(ray, ray.t0) : ray.t1;
    if (t < ray.t1) {
        uint slot = atomicAdd(list_count, 1u);
        DISPATCH_GROWS(list_groups_x, list_groups_y, slot)
        list_rays[slot] = uvec2(uint(i), floatBitsToUint(t));
    } else {
        answers[3 * i] = vec4(-1.0, 0.0, 1.0, 0.0);
    }
}
