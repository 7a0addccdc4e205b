// Second pass of an intersection: sphere tracing of the listed rays up to the first surface. With OCCLUSION 1
// only whether there is one is asked.
#include "drivers/trace_ray.glsl"
#include family
#include "drivers/ray_list.glsl"
#include "drivers/intersect_records.glsl"

const float EVALUATIONS = 160.0, SLOWEST = 0.6, HASTE = 0.0625;
const float HIT = 1e-4, SEAM = 3e-4;  // as in pathtrace_shade.comp
const float REFINEMENTS = 4.0;

struct Crossing {
    float t;     // of the surface, -1 for none
    float side;  // 1: met from outside
    float cost;
};

// Where f changes its sign first. A ray that begins behind the surface by no more than SEAM began on it.
Crossing first_crossing(Ray ray, float t) {
    float longest = length((box_high - box_low) / vec3(occupancy_size));
    float ta = t, ga = -1.0, tb = t, gb = 0.0, side = 0.0, cost = 0.0, refined = -1.0, found = -1.0;
    bool going;
    do {
        float f = field_distance(trace_point(ray, t));
        cost += 1.0;
        side = side == 0.0 ? (f < -SEAM ? -1.0 : 1.0) : side;
        float g = side * f, epsilon = max(HIT, 0.25 * ray.cone * t);
        going = true;
        if (refined >= 0.0 || (g <= 0.0 && ga > 0.0)) {
            if (g > 0.0) {
                ta = t;
                ga = g;
            } else {
                tb = t;
                gb = g;
            }
            refined += 1.0;
            t = ta + (tb - ta) * ga / (ga - gb);
            found = t;
            going = OCCLUSION == 0 && abs(g) > epsilon && tb - ta > epsilon && refined < REFINEMENTS;
        } else {
            // straight on, a plane that f fell towards at this rate is met so much later
            float fall = ga > g && t - ta < 2.0 * longest ? (ga - g) / (t - ta) : 1.0;
            float pace = min(abs(f) / clamp(fall, SLOWEST, 1.0), longest);
            ta = t;
            ga = g;
            t = trace_next(ray, t + max(pace + 0.25 * epsilon, epsilon * (1.0 + cost * HASTE)));
            going = t < ray.t1;
        }
    } while (going && cost < EVALUATIONS);
    return Crossing(found < ray.t1 ? found : -1.0, side, cost);
}

void main() {
    uint slot = dispatch_id();
    if (slot >= list_count) return;
    uvec2 entry = list_rays[slot];
    uint i = entry.x;
    vec4 o = records[2u * i], d = records[2u * i + 1u];
    Ray ray = trace_ray_from(o.xyz, d.xyz, o.w);
    ray.t1 = min(ray.t1, d.w);
    Crossing met = first_crossing(ray, uintBitsToFloat(entry.y));
    answers[3u * i] = vec4(met.t, 0.0, met.side, met.cost);
#if !OCCLUSION
    vec3 u = trace_point(ray, met.t);
    vec4 slope = field_distance_gradient(u);
    vec3 n = slope.xyz / (box_high - box_low);
    float r = max(HIT, ray.cone * met.t);
    float change = clamp(met.side * slope.w / max(-met.side * dot(n, ray.d), 0.1), -r, r);
    n *= inversesqrt(max(dot(n, n), 1e-30));
    answers[3u * i] = vec4(met.t < 0.0 ? -1.0 : met.t + change, 0.0, met.side, met.cost + 1.0);
    answers[3u * i + 1u] = vec4(n, 0.0);
    answers[3u * i + 2u] = vec4(field_colour(u, n, ray.d), 0.0);
#endif
}
