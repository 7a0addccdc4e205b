// After the meshes are drawn: lists the samples of all rays that have met the outer one.
#define BVH 0
#include "common/camera.glsl"
#include "drivers/shell_hits.glsl"
#include "drivers/shell_work.glsl"

layout(local_size_x = LIST_GROUP) in;
uniform sampler2D u_solid;
uniform int u_within;    // 1: rays may begin within the shell
uniform uint u_samples;  // that there is room for

// Intervals of a ray that are remembered; where there are more it is walked along again.
const int KEPT = 3;

struct Found {
    vec2 ends[KEPT];
    bool closed[KEPT];
    int intervals;   // all of them
    uint samples;    // of all of them
    float length_;
    float broken;
};

// The samples of an interval, from `first` on in the list.
void write_samples(uint first, int pixel, float n, vec2 ends, bool closed) {
    float delta = (ends.y - ends.x) / n;
    for (float i = 0.0; i < n; i += 1.0) {
        float last = closed && i == n - 1.0 ? 1.0 : 0.0;
        work_samples[first + uint(i)] = vec4(ends.x + (i + 0.5) * delta, delta, float(pixel), last);
    }
}

Found walk_intervals(int pixel, vec3 o, vec3 d, float solid) {
    Found found;
    found.intervals = 0;
    found.samples = 0u;
    found.length_ = 0.0;
    for (int k = 0; k < KEPT; ++k) {
        found.ends[k] = vec2(0.0);
        found.closed[k] = false;
    }
    Walk walk = walk_start(u_within == 1);
    while (walk.t < NONE) {
        vec2 ends;
        bool closed;
        if (!interval_next(walk, pixel, o, d, solid, ends, closed)) continue;
        for (int k = 0; k < KEPT; ++k) {
            bool here = k == found.intervals;
            found.ends[k] = here ? ends : found.ends[k];
            found.closed[k] = here ? closed : found.closed[k];
        }
        found.intervals += 1;
        found.samples += uint(interval_samples(o, d, ends));
        found.length_ += ends.y - ends.x;
    }
    found.broken = walk.broken;
    return found;
}

void walk_samples(int pixel, vec3 o, vec3 d, float solid, uint first) {
    Walk walk = walk_start(u_within == 1);
    while (walk.t < NONE) {
        vec2 ends;
        bool closed;
        if (!interval_next(walk, pixel, o, d, solid, ends, closed)) continue;
        float n = interval_samples(o, d, ends);
        write_samples(first, pixel, n, ends, closed);
        first += uint(n);
    }
}

void main() {
    if (gl_GlobalInvocationID.x >= list_pixels) return;
    int pixels = u_pixels.x * u_pixels.y, pixel = int(list_counts[pixels + int(gl_GlobalInvocationID.x)]);
    ivec2 at = ivec2(pixel % u_pixels.x, pixel / u_pixels.x);
    uint first = 0u;
    vec3 o, d;
    camera_ray(vec2(at) + 0.5, o, d);
    float solid = texelFetch(u_solid, at, 0).x;
    bool overflows = int(list_counts[pixel]) > u_room;
    Found found;
    if (!overflows) {
        found = walk_intervals(pixel, o, d, solid);
        if (found.broken > 0.0) atomicAdd(work_broken, 1u);
        if (found.samples == 0u) return;
        first = atomicAdd(work_count, found.samples);
        overflows = first + found.samples > u_samples;
    }
    if (overflows) {
        work_list[pixels - 1 - int(atomicAdd(work_overflow, 1u))].x = uint(pixel);
        return;
    }
    uvec4 ray = uvec4(pixel, first, found.samples, floatBitsToUint(found.length_));
    work_list[atomicAdd(work_rays, 1u)] = ray;
    if (found.intervals > KEPT) {
        walk_samples(pixel, o, d, solid, first);
        return;
    }
    for (int k = 0; k < KEPT; ++k) {
        if (k >= found.intervals) break;
        float n = interval_samples(o, d, found.ends[k]);
        write_samples(first, pixel, n, found.ends[k], found.closed[k]);
        first += uint(n);
    }
}
