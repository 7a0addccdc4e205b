// Sphere tracing of a signed distance field, with anti-aliased edges. Both hosts share it: trace.comp and
// trace.frag. How it works is told in render/drivers/trace.py, which holds its numpy twin.
//
// A family defines (shaders/families/), for u in [0, 1]:
//   float field_distance(vec3 u)            f: world units, negative inside
//   vec4 field_distance_gradient(vec3 u)    its slope by u in .xyz, f in .w
#include "drivers/trace_ray.glsl"
#include family
#asset constant vec3 albedo
#asset constant float ambient

const float EVALUATIONS = 128.0;
const int LAYERS = 3;
const float FRONTAL = 0.7, PROBE_REACH = 8.0, WIDE = 4.0, DEEP = 1e9, CLOSED = 0.004, HASTE = 0.0625, SLOWEST = 0.6;
const int SEARCH = 0, REFINE = 1, PROBE = 2, HIT = 3, GRAZE = 4, LEFT = 5;

uniform int u_mode;
uniform vec3 u_background;

// Clay under a headlight, display colour; n and d are unit vectors.
vec3 trace_shade(vec3 n, vec3 d) {
    return albedo * (ambient + (1.0 - ambient) * abs(dot(n, d)));
}

// How far a ray that enters is from the silhouette, by the parabola through three samples along it.
float trace_depth(float ta, float a, float tb, float b, float tc, float c) {
    float ab = (b - a) / (tb - ta), bc = (c - b) / (tc - tb);
    float curvature = (bc - ab) / (tc - ta);
    float slope = ab + curvature * (tb - ta);
    float deep = curvature > 0.0 ? slope * slope / (4.0 * curvature) - b : DEEP;
    float steep = clamp(ab, -FRONTAL, 0.0);
    return deep * inversesqrt(1.0 - steep * steep);
}

// The picture's pixel for a ray that enters occupied space at t; cost counts evaluations. Coverage is in .w.
// The field is evaluated in one place only, and the loops are do-while: software rasterisers run both sides of a
// branch, and a loop's body once more than it has iterations otherwise.
vec4 trace(Ray ray, float t, out float cost) {
    vec3 size = box_high - box_low;
    float longest = length(size / vec3(occupancy_size));
    vec3 rgb = vec3(0.0), normal = vec3(0.0);
    float T = 1.0, depth = 0.0, coverage = 0.0;
    float side = 0.0;                // 1: the ray comes from outside
    float ta = t, ga = -1.0;         // last sample before the surface; g = side * f
    float tb = t, gb = 0.0;          // first one behind it
    bool clear = true;               // g has been larger than the cone since the last layer
    float th = t;                    // the layer's place
    int layer = 0;
    cost = 0.0;
    do {
        float low = 1.0;             // smallest g / r
        int stage = SEARCH;
        do {
            float f = field_distance(trace_point(ray, t));
            cost += 1.0;
            side = side == 0.0 ? (f < 0.0 ? -1.0 : 1.0) : side;
            float g = side * f, r = ray.cone * t;
            bool crossed = stage == SEARCH && g <= 0.0 && ga > 0.0;
            if (stage == SEARCH && g < -r && ga <= 0.0) {
                stage = HIT;  // the last layer's surface did not end there after all
                low = -DEEP;
            } else if (stage == PROBE) {
                low = -trace_depth(ta, ga, tb, gb, t, g) / r;
                ga = g;
                stage = HIT;
            } else if (crossed || stage == REFINE) {
                if (g > 0.0) {
                    ta = t;
                    ga = g;
                } else {
                    tb = t;
                    gb = g;
                }
                float slope = (ga - gb) / (tb - ta);
                th = ta + ga / slope;
                low = -DEEP;
                stage = crossed && tb - ta > WIDE * r ? REFINE : slope < FRONTAL ? PROBE : HIT;
                t = stage == REFINE ? th : tb + min(1.0 / slope, PROBE_REACH) * r;
            } else {
                if (g > r) {
                    stage = low < 1.0 ? GRAZE : SEARCH;
                    clear = true;
                } else if (clear && g < low * r) {
                    low = max(g / r, 0.0);
                    th = t;
                }
                // straight on, a plane that f fell towards at this rate is met so much later
                float fall = ga > g && t - ta < 2.0 * longest ? (ga - g) / (t - ta) : 1.0;
                float pace = abs(f) / clamp(fall, SLOWEST, 1.0);
                ta = t;
                ga = g;
                // A bank of networks has to end the step at the exit of its cell here.
                t += max(min(pace, longest) + r, r * (1.0 + cost * HASTE));
            }
            bool searching = stage == SEARCH || stage == GRAZE;
            float next = trace_next(ray, searching ? t : ray.t1);
            t = searching ? next : t;
            if (stage == SEARCH && (t >= ray.t1 || cost >= EVALUATIONS)) stage = low < 1.0 ? GRAZE : LEFT;
        } while (stage < HIT);

        vec4 slope = field_distance_gradient(trace_point(ray, th));
        vec3 n = slope.xyz / size;
        float r = ray.cone * th;
        if (stage == HIT) {  // one step of Newton's
            th += clamp(side * slope.w / max(-side * dot(n, ray.d), 0.1), -r, r);
            clear = false;
            if (layer == LAYERS - 1) low = -DEEP;
        }
        float w = stage == LEFT ? 0.0 : T * clamp(0.5 - 0.5 * low * inversesqrt(max(dot(n, n), 0.1)), 0.0, 1.0);
        cost += stage == LEFT ? 0.0 : 1.0;
        n *= inversesqrt(max(dot(n, n), 1e-30));
        rgb += w * trace_shade(n, ray.d);
        normal += w * n;
        depth += w * th;
        coverage += w;
        T -= w;
        layer += 1;
    } while (layer < LAYERS && T > CLOSED && t < ray.t1 && cost < EVALUATIONS);

    vec3 picture = rgb + T * u_background;
    if (u_mode == MODE_DEPTH) picture = vec3(coverage > 0.0 ? depth / coverage : 0.0);
    if (u_mode == MODE_NORMAL) picture = normal * inversesqrt(max(dot(normal, normal), 1e-30));
    if (u_mode == MODE_COST) picture = vec3(cost);
    return vec4(picture, coverage);
}

// The pixel of a ray that meets nothing.
vec4 trace_nothing() {
    return vec4(u_mode == MODE_COLOUR ? u_background : vec3(0.0), 0.0);
}
