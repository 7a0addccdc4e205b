// Intervals of a ray within the shell, and how many samples each gets: the twin of render/intervals.py, whose
// NEAR, SAME and SHORTEST are START, SAME and SHORTEST here.
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
    float depth;   // how often the ray has entered and not left
    float kind;    // 1: the last hit entered, -1: it left, 0: there was none, 2: nor may the first one leave
    float broken;  // 1: hits came in the wrong order
};

// within: whether the ray may begin within the shell.
Walk walk_start(bool within) {
    return Walk(START, START, 0.0, within ? 0.0 : 2.0, 0.0);
}

// One hit further, entering where sign is above 0, leaving below 0, none if 0. An interval that ends by it is
// found and has its ends in `ends`; t becomes NONE where the ray is over.
bool walk_on(inout Walk walk, float t, int sign_, float solid, out vec2 ends, out bool closed) {
    // a first hit that leaves: the ray began within the shell
    if (walk.kind == 0.0 && sign_ < 0) walk.depth = 1.0;
    bool over = t >= NONE || t > solid, inside = walk.depth > 0.0;
    bool enters = !over && sign_ > 0, leaves = !over && sign_ < 0;
    if (float(sign_) == walk.kind && t - walk.t < SAME * max(t, 1.0)) enters = leaves = false;
    closed = over && solid < NONE;
    // what is never left ends at the last hit if that one leaves
    bool ended = over ? inside && walk.kind < 0.0 : leaves && walk.depth == 1.0;
    ends = vec2(walk.start, closed ? solid : over ? walk.t : t);
    bool found = closed ? inside : ended && ends.y - ends.x >= SHORTEST;
    walk.broken = (over ? inside && !closed : leaves && !inside) ? 1.0 : walk.broken;
    if (enters && !inside) walk.start = t;
    walk.depth = over ? 0.0 : max(walk.depth + float(enters) - float(leaves), 0.0);
    walk.kind = sign_ == 0 ? walk.kind : float(sign_);
    walk.t = over ? NONE : t;
    return found;
}

// An interval without what is cropped away; false where nothing is left.
bool interval_seen(vec3 o, vec3 d, inout vec2 ends, inout bool closed) {
#ifdef CROP
    vec2 seen = box_interval(o, d, u_crop_low, u_crop_high);
    closed = closed && ends.y <= seen.y;
    ends = vec2(max(ends.x, seen.x), min(ends.y, seen.y));
    return ends.y - ends.x >= (closed ? 0.0 : SHORTEST);
#else
    return true;
#endif
}

float interval_samples(vec3 o, vec3 d, vec2 ends) {
    float width = length(place_chord(o, d, ends));
    return min(ceil(max(width - single_width, 0.0) / spacing) + 1.0, float(max_samples));
}
