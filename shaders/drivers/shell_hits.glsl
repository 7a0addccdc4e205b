// Intervals of the ray of a pixel, by its list of hits or, where BVH is 1, by the tree of all faces.
#include "drivers/shell_samples.glsl"
#include "drivers/shell_list.glsl"

#if BVH
#include "common/bvh.glsl"

// What is met beyond `after`: t, and whether it enters.
float hit_next(int pixel, vec3 o, vec3 d, float after, out int sign_) {
    float t = NONE;
    int face = bvh_hit_beyond(o, d, after, 0.0, t, false);
    vec3 n = cross(bvh_triangle(3 * max(face, 0) + 1).xyz, bvh_triangle(3 * max(face, 0) + 2).xyz);
    sign_ = face < 0 ? 0 : dot(n, d) < 0.0 ? 1 : -1;
    return t;
}

// Whether a ray may begin within the shell: in the box of all faces.
bool cast_within(vec3 o) {
    return all(greaterThanEqual(o, bvh_box(2).xyz)) && all(lessThanEqual(o, bvh_box(3).xyz));
}

float hit_solid(vec3 o, vec3 d) {
    float t = NONE;
    bvh_hit_beyond(o, d, START, 1.0, t, false);
    return t;
}
#else
float hit_next(int pixel, vec3 o, vec3 d, float after, out int sign_) {
    float t = NONE;
    sign_ = 0;
    int count = int(list_counts[pixel]);
    for (int k = 0; k < count; ++k) {
        float hit = list_hits[list_place(pixel, k)], at = abs(hit);
        int enters = hit > 0.0 ? 1 : -1;
        bool nearer = at > after && at < t;
        sign_ = nearer ? enters : at == t ? sign_ + enters : sign_;  // hits at one place count as one
        t = nearer ? at : t;
    }
    return t;
}
#endif

// The next interval; false where there is no other. Tested at the top, and all that is used afterwards set
// before it: after a do-while, software rasterisers may hold what later rounds of other lanes made of it.
bool interval_next(inout Walk walk, int pixel, vec3 o, vec3 d, float solid, out vec2 ends, out bool closed) {
    bool found = false;
    ends = vec2(0.0);
    closed = false;
    while (!found && walk.t < NONE) {
        int sign_;
        float t = hit_next(pixel, o, d, walk.t, sign_);
        found = walk_on(walk, t, sign_, solid, ends, closed) && interval_seen(o, d, ends, closed);
    }
    return found;
}
