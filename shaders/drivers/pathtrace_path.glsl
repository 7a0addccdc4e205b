#include "common/dispatch.glsl"
// What is kept of the path through a pixel, and the rays that intersectors take: see render/intersect.py.
struct RayRecord {
    vec4 origin;     // and the half width of its cone at t = 1
    vec4 direction;  // and the largest t, 0 or less for none
};

struct HitRecord {
    vec4 place;   // t (-1: none), network, side, evaluations
    vec4 normal;
    vec4 colour;
};

struct Path {
    vec4 throughput;  // and the density of the last direction, -1 where there was no choice
    vec4 radiance;    // so far, and the evaluations
    vec4 pending;     // what arrives if nothing hides the light
    vec4 first;       // of what the pixel shows: normal towards the camera, distance (0: nothing)
    vec4 albedo;      // likewise: what its light is a multiple of
};

layout(std430, binding = 0) buffer path_rays { RayRecord rays[]; };
layout(std430, binding = 1) buffer path_hits { HitRecord hits[]; };
layout(std430, binding = 2) buffer path_shadows { RayRecord shadows[]; };
layout(std430, binding = 3) buffer path_state { Path paths[]; };

// Three lists of pixels: paths that go on, in turns 0 and 1, and those that wait for a light. First the
// dispatch and the length of each, four words, then the pixels. Their order is chance, but no pixel looks at
// another.
layout(std430, binding = 7) buffer path_lists { uint lists[]; };
const int WAITING = 2, HEADS = 12;

uniform int u_width, u_count;        // of the picture; its pixels
uniform uint u_seed, u_sample;

void append(int list, int pixel) {
    uint slot = atomicAdd(lists[4 * list + 3], 1u);
    DISPATCH_GROWS(lists[4 * list], lists[4 * list + 1], slot)
    lists[HEADS + list * u_count + int(slot)] = uint(pixel);
}

// The pixel of an invocation that takes a list, -1 beyond its end.
int taken(int list, uint slot) {
    return slot < lists[4 * list + 3] ? int(lists[HEADS + list * u_count + int(slot)]) : -1;
}

// The stream of numbers for a decision of a pixel's path.
uint stream_of(int pixel, int decision) {
    return hash(uint(pixel) ^ hash(uint(decision) ^ hash(u_seed)));
}
