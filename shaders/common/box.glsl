// Where a ray is inside a box: t from .x to .y; .x >= .y where it misses. .x is negative for an origin
// inside.
vec2 box_interval(vec3 o, vec3 d, vec3 low, vec3 high) {
    // a ray along a face would give 0 * infinity
    vec3 inverse = 1.0 / mix(d, vec3(1e-12), lessThan(abs(d), vec3(1e-12)));
    vec3 a = (low - o) * inverse, b = (high - o) * inverse;
    vec3 near = min(a, b), far = max(a, b);
    return vec2(max(near.x, max(near.y, near.z)), min(far.x, min(far.y, far.z)));
}

#ifdef CROP
uniform vec3 u_crop_low, u_crop_high;  // the part of the world that is seen
#endif

// Where a ray is inside a box and what is seen of the world.
vec2 seen_interval(vec3 o, vec3 d, vec3 low, vec3 high) {
#ifdef CROP
    return box_interval(o, d, max(low, u_crop_low), min(high, u_crop_high));
#else
    return box_interval(o, d, low, high);
#endif
}
