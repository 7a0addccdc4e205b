// The search of a ray for the end of a layer: one evaluation of the field, and what follows from it. How it
// works is told in render/drivers/trace.py; its numpy twin is render/sphere_tracing.py. The driver includes
// trace_ray.glsl before it, and for a bank of networks defines CELLS and includes trace_bank.glsl. FIRST_HIT:
// for rays from anywhere, of which only the first crossing is wanted, without the edges of a pixel. One that
// begins up to SLACK behind the surface counts as begun on it.

const float EVALUATIONS = 128.0;
const int LAYERS = 3;
const float FRONTAL = 0.7, PROBE_REACH = 8.0, WIDE = 4.0, DEEP = 1e9, CLOSED = 0.004;
const float HASTE = 0.0625, SLOWEST = 0.6;
const float NEAR_PROBE = 0.1;
const int SEARCH = 0, REFINE = 1, PROBE = 2, HIT = 3, GRAZE = 4, LEFT = 5;

#ifdef FIRST_HIT
const bool EDGES = false;
const float SLACK = 3e-4;
#else
const bool EDGES = true;
const float SLACK = 0.0;
#endif

struct Search {
    float t;           // of the next sample
    float ta, ga;      // last sample before the surface; g = side * f
    float tb, gb;      // first one behind it
    float th;          // the layer's place
    float low;         // smallest g / r
    float side;        // 1: the ray comes from outside
    float cost;        // evaluations
    float T;           // transmittance
    bool clear;        // g has been larger than the cone since the last layer
    int stage;
};

#ifndef CELLS
// What is known before the first sample of the side that a ray starts on: nothing.
float trace_side(Ray ray) {
    return 0.0;
}
#endif

// A ray that enters occupied space at t.
Search search_start(Ray ray, float t) {
    return Search(t, t, -1.0, t, 0.0, t, 1.0, trace_side(ray), 0.0, 1.0, true, SEARCH);
}

// How far a ray that enters is from the silhouette, by the parabola through three samples along it.
float search_depth(float ta, float a, float tb, float b, float tc, float c) {
    float ab = (b - a) / (tb - ta), bc = (c - b) / (tc - tb);
    float curvature = (bc - ab) / (tc - ta);
    float slope = ab + curvature * (tb - ta);
    float deep = curvature > 0.0 ? slope * slope / (4.0 * curvature) - b : DEEP;
    float steep = clamp(ab, -FRONTAL, 0.0);
    return deep * inversesqrt(1.0 - steep * steep);
}

// What follows from an evaluation at s.t that gave f.
void search_step(Ray ray, float longest, float f, inout Search s) {
    s.cost += 1.0;
    s.side = s.side == 0.0 ? (f < -SLACK ? -1.0 : 1.0) : s.side;
    float t = s.t, g = s.side * f, r = max(ray.cone * t, SLACK);
    bool stays = false;  // a bank samples an unset cell
    bool crossed = s.stage == SEARCH && g <= 0.0 && s.ga > 0.0;
    if (s.stage == SEARCH && g < -r && s.ga <= 0.0) {
        s.stage = HIT;  // the last layer's surface did not end there after all
        s.low = -DEEP;
    } else if (s.stage == PROBE) {
        s.low = -search_depth(s.ta, s.ga, s.tb, s.gb, t, g) / r;
        s.ga = g;
        s.stage = HIT;
    } else if (crossed || s.stage == REFINE) {
        if (g > 0.0) {
            s.ta = t;
            s.ga = g;
        } else {
            s.tb = t;
            s.gb = g;
        }
        float slope = (s.ga - s.gb) / (s.tb - s.ta);
        s.th = s.ta + s.ga / slope;
        s.low = -DEEP;
        bool wide = crossed && s.tb - s.ta > WIDE * r, grazing = slope < FRONTAL;
        float beyond = s.tb + min(1.0 / slope, PROBE_REACH) * r;
#ifdef CELLS
        if (trace_network(ray, s.th) < 0) {
            s.th = s.ga < -s.gb ? s.ta : s.tb;
            wide = false;
        }
        if (grazing && !wide && trace_network(ray, beyond) < 0)
            beyond = min(beyond, s.tb + trace_inner_ways(ray, s.tb).x);
        grazing = grazing && beyond - s.tb > NEAR_PROBE * r;
#endif
        s.stage = wide ? REFINE : grazing && EDGES ? PROBE : HIT;
        s.t = wide ? s.th : beyond;
    } else {
        if (g > r) {
            s.stage = s.low < 1.0 && EDGES ? GRAZE : SEARCH;
            s.clear = true;
        } else if (s.clear && g < s.low * r) {
            s.low = max(g / r, 0.0);
            s.th = t;
        }
        // straight on, a plane that f fell towards at this rate is met so much later
        float fall = s.ga > g && t - s.ta < 2.0 * longest ? (s.ga - g) / (t - s.ta) : 1.0;
        float pace = abs(f) / clamp(fall, SLOWEST, 1.0);
        pace = max(min(pace, longest) + r, r * (1.0 + s.cost * HASTE));
#ifdef CELLS
        bool due = (s.ga <= 0.0 || s.ga > g) && trace_gap(ray, t) == 0;
        float inner = trace_inner_ways(ray, t).x;
        pace = min(pace, trace_ways(ray, t).x + ray.nudge);
        bool leaves = trace_network(ray, t + pace) < 0;
        stays = due && (!leaves || inner > ray.nudge);
        pace = stays && leaves ? inner : pace;
#endif
        s.ta = t;
        s.ga = g;
        s.t += pace;
    }
    bool searching = s.stage == SEARCH || s.stage == GRAZE;
    float next = trace_next(ray, searching && !stays ? s.t : ray.t1);
    s.t = searching && !stays ? next : s.t;
    bool over = s.t >= ray.t1 || s.cost >= EVALUATIONS;
    if (s.stage == SEARCH && over) s.stage = s.low < 1.0 && EDGES ? GRAZE : LEFT;
}

// The layer at s.th, given the field there: f, and its slope in the world. Returns what it covers of the
// pixel, and moves th by one step of Newton's.
float search_resolve(Ray ray, vec3 slope, float f, bool last, inout Search s) {
    float r = max(ray.cone * s.th, SLACK);
    if (s.stage == HIT) {
        float change = clamp(s.side * f / max(-s.side * dot(slope, ray.d), 0.1), -r, r);
#ifdef CELLS
        vec2 ways = trace_inner_ways(ray, s.th);
        change = clamp(change, -ways.y, ways.x);
#endif
        s.th += change;
        s.clear = false;
        if (last) s.low = -DEEP;
    }
    s.cost += 1.0;
    float w = s.T * clamp(0.5 - 0.5 * s.low * inversesqrt(max(dot(slope, slope), 0.1)), 0.0, 1.0);
    s.T -= w;
    return w;
}
