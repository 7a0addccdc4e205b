// After the meshes are drawn: fills the pixels of rays that meet nothing, and lists the samples of the others.
#define BVH 0
#include "common/camera.glsl"
#include "drivers/shell_hits.glsl"
#include "drivers/shell_work.glsl"

layout(local_size_x = 64) in;
layout(rgba32f, binding = 0) writeonly uniform image2D i_picture;
layout(r32f, binding = 1) writeonly uniform image2D i_cost;
uniform sampler2D u_solid;
uniform vec4 u_nothing;
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
            work_samples[first + number + uint(i)] = vec4(ends.x + (i + 0.5) * delta, delta, float(pixel), last);
        }
        number += uint(n);
    }
    broken = walk.broken;
    return number;
}

void main() {
    // eight invocations in a row, which software runs as one vector, are a block of 4 x 2 pixels
    int i = int(gl_LocalInvocationIndex);
    ivec2 inside = ivec2((i & 3) | ((i >> 1) & 4), ((i >> 2) & 1) | ((i >> 3) & 6));
    ivec2 at = 8 * ivec2(gl_WorkGroupID.xy) + inside;
    if (at.x >= u_pixels.x || at.y >= u_pixels.y) return;
    int pixel = list_pixel(at), hits = int(list_counts[pixel]);
    uint number = 0u, first = 0u;
    vec3 o = vec3(0.0), d = vec3(0.0);
    float solid = NONE, length_ = 0.0, broken = 0.0;
    bool overflows = hits > u_room;
    if (hits > 0 && !overflows) {
        camera_ray(vec2(at) + 0.5, o, d);
        solid = texelFetch(u_solid, at, 0).x;
        number = walk_samples(pixel, o, d, solid, NO_PLACE, length_, broken);
        if (broken > 0.0) atomicAdd(work_broken, 1u);
    }
    if (number > 0u) {
        first = atomicAdd(work_count, number);
        overflows = first + number > u_samples;
    }
    if (overflows) {
        work_list[u_pixels.x * u_pixels.y - 1 - int(atomicAdd(work_overflow, 1u))].x = uint(pixel);
    } else if (number > 0u) {
        work_list[atomicAdd(work_rays, 1u)] = uvec4(pixel, first, number, floatBitsToUint(length_));
        walk_samples(pixel, o, d, solid, first, length_, broken);
    } else {
        imageStore(i_picture, at, u_nothing);
        imageStore(i_cost, at, vec4(0.0));
    }
}
