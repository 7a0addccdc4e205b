// Intervals of a ray within the shell, and how many samples each gets: the twin of render/intervals.py, whose NEAR
// and SHORTEST are START and SHORTEST here.
#asset constant float single_width
#asset constant float spacing
#asset constant int max_samples
#include "common/box.glsl"
#include "drivers/shell_place.glsl"
const float NONE = 1e30;  // no such hit

// Where a walk along the hits of a ray is.
struct Walk {
    float t;       // of the last hit
    float start;   // of the interval that has begun
    float inside;  // 1: one has
    float first;   // 1: no hit was met yet
    float broken;  // 1: hits came in the wrong order
};

Walk walk_start() {
    return Walk(START, START, 0.0, 1.0, 0.0);
}

// One hit further, entering where sign is above 0, leaving below 0, none if 0. An interval that ends by it has
// its ends in `ends` and is found; t becomes NONE where the ray is over.
bool walk_on(inout Walk walk, float t, int sign_, float solid, out vec2 ends, out bool closed) {
    // a first hit that leaves: the ray began within the shell
    if (walk.first > 0.0 && sign_ < 0) walk.inside = 1.0;
    if (sign_ != 0) walk.first = 0.0;
    bool over = t >= NONE || t > solid, inside = walk.inside > 0.0;
    ends = vec2(walk.start, min(t, solid));
    closed = over && solid < NONE;
    bool found = inside && (over ? closed && solid >= walk.start : sign_ < 0 && t - walk.start >= SHORTEST);
    bool wrong = over ? inside && !closed : sign_ > 0 && inside || sign_ < 0 && !inside;
    walk.broken = wrong ? 1.0 : walk.broken;
    if (sign_ > 0 && !inside) walk.start = t;
    walk.inside = over || sign_ < 0 ? 0.0 : sign_ > 0 ? 1.0 : walk.inside;
    walk.t = over ? NONE : t;
    return found;
}

// An interval without what is cropped away; false where nothing is left.
bool interval_seen(vec3 o, vec3 d, inout vec2 ends, inout bool closed) {
#ifdef CROP
    vec2 seen = box_interval(o, d, u_crop_low, u_crop_high);
    closed = closed && ends.y <= seen.y;
    ends = vec2(max(ends.x, seen.x), min(ends.y, seen.y));
    return ends.y - ends.x >= SHORTEST;
#else
    return true;
#endif
}

float interval_samples(vec3 o, vec3 d, vec2 ends) {
    float width = length(place_chord(o, d, ends));
    return min(ceil(max(width - single_width, 0.0) / spacing) + 1.0, float(max_samples));
}
