// Fragment host: one hit further, from one set of states to another; two where the first leaves the shell for
// good, since then only a hit that enters can follow. A peel shows the nearest hits of either kind beyond the
// last one.
#include "common/camera.glsl"
#include "drivers/shell_samples.glsl"
#include "drivers/shell_sample.glsl"
#include "drivers/shell_sum.glsl"
uniform highp sampler2D u_solid;
uniform highp sampler2D u_peel;   // t of the nearest hit that enters, and that leaves
uniform highp sampler2D u_sums;   // value, coverage
uniform highp sampler2D u_costs;  // T, cost, length, broken
uniform highp sampler2D u_walk;   // t, start, depth, kind
uniform int u_within;             // 1: rays may begin within the shell
uniform int u_number;             // of the peel
layout(location = 0) out vec4 o_sums;
layout(location = 1) out vec4 o_costs;
layout(location = 2) out vec4 o_walk;

void main() {
    ivec2 at = ivec2(gl_FragCoord.xy);
    Walk walk = walk_start(u_within == 1);
    Sum sum = sum_start();
    if (u_number > 0) {
        vec4 sums = texelFetch(u_sums, at, 0), costs = texelFetch(u_costs, at, 0);
        vec4 w = texelFetch(u_walk, at, 0);
        sum = Sum(sums.xyz, sums.w, costs.x, costs.y, costs.z);
        walk = Walk(w.x, w.y, w.z, w.w, costs.w);
    }
    float solid = texelFetch(u_solid, at, 0).x;
    vec2 hits = texelFetch(u_peel, at, 0).xy, ends;
    bool closed, found = false;
    if (walk.t < NONE) {
        int kind = hits.x < hits.y ? 1 : hits.x > hits.y ? -1 : 0;
        found = walk_on(walk, min(hits.x, hits.y), kind, solid, ends, closed);
        vec2 none;
        bool no;
        if (kind < 0 && walk.depth == 0.0 && walk.t < NONE) {
            walk_on(walk, hits.x, hits.x < NONE ? 1 : 0, solid, none, no);
        }
    }
    vec3 o, d;
    camera_ray(gl_FragCoord.xy, o, d);
    if (found && interval_seen(o, d, ends, closed)) {
        float i = 0.0, n = interval_samples(o, d, ends), delta = (ends.y - ends.x) / n;
        bool goes_on;
        do {
            sum_add(sum, sample_of(o, d, ends.x + (i + 0.5) * delta, delta, closed && i == n - 1.0));
            i += 1.0;
            goes_on = sum_goes_on(sum);
        } while (goes_on && i < n);
        sum.length_ += ends.y - ends.x;
        if (!goes_on) walk.t = NONE;
    }
    o_sums = vec4(sum.value, sum.coverage);
    o_costs = vec4(sum.T, sum.cost, sum.length_, walk.broken);
    o_walk = vec4(walk.t, walk.start, walk.depth, walk.kind);
}
