// After the meshes are drawn: lists the samples of all rays that have met the outer one.
#define BVH 0
#include "common/camera.glsl"
#include "drivers/shell_hits.glsl"
#include "drivers/shell_work.glsl"

layout(local_size_x = LIST_GROUP) in;
uniform sampler2D u_solid;
uniform int u_within;    // 1: rays may begin within the shell
uniform uint u_samples;  // that there is room for

// Walks along the ray; samples go to the list from `first` on, or are only counted where that is NO_PLACE.
const uint NO_PLACE = 0xffffffffu;
uint walk_samples(int pixel, vec3 o, vec3 d, float solid, uint first, out float length_, out float broken) {
    Walk walk = walk_start(u_within == 1);
    uint number = 0u;
    length_ = 0.0;
    while (walk.t < NONE) {
        vec2 ends;
        bool closed;
        if (!interval_next(walk, pixel, o, d, solid, ends, closed)) continue;
        float n = interval_samples(o, d, ends), delta = (ends.y - ends.x) / n;
        length_ += ends.y - ends.x;
        for (float i = 0.0; i < n && first != NO_PLACE; i += 1.0) {
            float last = closed && i == n - 1.0 ? 1.0 : 0.0;
            vec4 sample_ = vec4(ends.x + (i + 0.5) * delta, delta, float(pixel), last);
            work_samples[first + number + uint(i)] = sample_;
        }
        number += uint(n);
    }
    broken = walk.broken;
    return number;
}

void main() {
    if (gl_GlobalInvocationID.x >= list_pixels) return;
    int pixels = u_pixels.x * u_pixels.y, pixel = int(list_counts[pixels + int(gl_GlobalInvocationID.x)]);
    ivec2 at = ivec2(pixel % u_pixels.x, pixel / u_pixels.x);
    uint number = 0u, first = 0u;
    vec3 o, d;
    camera_ray(vec2(at) + 0.5, o, d);
    float solid = texelFetch(u_solid, at, 0).x, length_, broken;
    bool overflows = int(list_counts[pixel]) > u_room;
    if (!overflows) {
        number = walk_samples(pixel, o, d, solid, NO_PLACE, length_, broken);
        if (broken > 0.0) atomicAdd(work_broken, 1u);
        if (number == 0u) return;
        first = atomicAdd(work_count, number);
        overflows = first + number > u_samples;
    }
    if (overflows) {
        work_list[pixels - 1 - int(atomicAdd(work_overflow, 1u))].x = uint(pixel);
        return;
    }
    work_list[atomicAdd(work_rays, 1u)] = uvec4(pixel, first, number, floatBitsToUint(length_));
    walk_samples(pixel, o, d, solid, first, length_, broken);
}
