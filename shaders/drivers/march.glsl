// Marching through a radiance field on a fixed lattice, front to back, with an early stop.
// Both hosts share it: march.comp and march.frag. Its numpy twin is in render/drivers/march.py.
//
// A family defines (shaders/families/):
//   FIELD_BLOCKS, HEAD_BLOCKS                                       vec4 of a sample's values, a ray's head
//   void field_evaluate(vec3 u, out vec4 y[FIELD_BLOCKS])           values at u in [0, 1]
//   float field_density(vec4 y[FIELD_BLOCKS], vec3 d)               sigma, per unit of s, of a ray along d
//   void field_head(vec3 d, out vec4 head[HEAD_BLOCKS])             what the colours of a ray have in common
//   vec3 field_colour(vec4 head[HEAD_BLOCKS], vec4 y[FIELD_BLOCKS]) display colour
//   vec3 field_density_gradient(vec3 u)                             by u; only where NORMALS is 1
#include "drivers/march_ray.glsl"
#asset constant float stop
#asset constant int deferred
#include family

uniform int u_mode;
uniform vec3 u_background;

// The picture's pixel for a ray that enters occupied space at sample k; cost counts evaluated samples.
// Coverage is in .w. A do-while: software rasterisers run a loop's body once more than it has iterations
// otherwise.
vec4 march(Ray ray, float k, out float cost) {
    vec4 head[HEAD_BLOCKS];
    if (deferred == 0) field_head(ray.d, head);
    vec4 composite[FIELD_BLOCKS];
    for (int i = 0; i < FIELD_BLOCKS; ++i) composite[i] = vec4(0.0);
    vec3 rgb = vec3(0.0), normal = vec3(0.0);
    float T = 1.0, depth = 0.0, coverage = 0.0;
    cost = 0.0;
    do {
        vec4 y[FIELD_BLOCKS];
        vec3 u = march_point(ray, k);
        field_evaluate(u, y);
        float kept = exp(-field_density(y, ray.d) * step_size);
        float w = T * (1.0 - kept);
        if (deferred == 1) {
            for (int i = 0; i < FIELD_BLOCKS; ++i) composite[i] += w * y[i];
        } else {
            rgb += w * field_colour(head, y);
        }
        coverage += w;  // 1 - T but for rounding, which a depth of almost nothing would show
        depth += w * march_distance(ray, k);
#if NORMALS
        normal -= w * march_slope(ray, k, field_density_gradient(u));
#endif
        T *= kept;
        cost += 1.0;
        k = T < stop ? ray.n : march_next(ray, k + 1.0);
    } while (k < ray.n);

    float per_coverage = coverage > 0.0 ? 1.0 / coverage : 0.0;
    if (deferred == 1) {
        for (int i = 0; i < FIELD_BLOCKS; ++i) composite[i] *= per_coverage;
        field_head(ray.d, head);
        rgb = coverage * field_colour(head, composite);
    }
    vec3 picture = rgb + T * u_background;
    if (u_mode == MODE_DEPTH) picture = vec3(depth * per_coverage * (unbounded ? ball.w : 1.0));
    if (u_mode == MODE_NORMAL) picture = normal * inversesqrt(max(dot(normal, normal), 1e-30));
    if (u_mode == MODE_COST) picture = vec3(cost);
    return vec4(picture, coverage);
}

// The pixel of a ray that meets nothing.
vec4 march_nothing() {
    return vec4(u_mode == MODE_COLOUR ? u_background : vec3(0.0), 0.0);
}
