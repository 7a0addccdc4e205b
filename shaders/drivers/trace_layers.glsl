// A ray through up to LAYERS layers of the field, front to back, and the pixel that comes of it.
#include "common/view.glsl"

// The picture's pixel for a ray that enters occupied space at t; cost counts evaluations. Coverage is in .w.
// The field is evaluated in one place only, and the loops are do-while: software rasterisers run both sides
// of a branch, and a loop's body once more than it has iterations otherwise.
vec4 trace(Ray ray, float t, out float cost) {
    vec3 size = box_high - box_low;
    float longest = length(size / vec3(occupancy_size));
    vec3 rgb = vec3(0.0), normal = vec3(0.0);
    float depth = 0.0, coverage = 0.0;
    float id = -1.0;
    int layer = 0;
    Search s = search_start(ray, t);
    do {
        s.low = 1.0;
        s.stage = SEARCH;
        do {
            search_step(ray, longest, field_distance(trace_point(ray, s.t)), s);
        } while (s.stage < HIT);

        vec4 slope = field_distance_gradient(trace_point(ray, s.th));
        vec3 n = slope.xyz / size;
        float w = 0.0;
        if (s.stage != LEFT) w = search_resolve(ray, n, slope.w, layer == LAYERS - 1, s);
        n *= inversesqrt(max(dot(n, n), 1e-30));
        if (u_mode == MODE_COLOUR) rgb += w * field_colour(trace_point(ray, s.th), n, ray.d);
        normal += w * n;
        depth += w * s.th;
        coverage += w;
        layer += 1;
#ifdef CELLS
        id = id < 0.0 && w > 0.0 ? float(trace_network(ray, s.th)) : id;
        s.t = trace_next(ray, s.t);
#endif
    } while (layer < LAYERS && s.T > CLOSED && s.t < ray.t1 && s.cost < EVALUATIONS);

    cost = s.cost;
    vec3 picture = rgb + s.T * u_background;
    if (u_mode == MODE_DEPTH) picture = vec3(coverage > 0.0 ? depth / coverage : 0.0);
    if (u_mode == MODE_NORMAL) picture = normal * inversesqrt(max(dot(normal, normal), 1e-30));
    if (u_mode == MODE_COST) picture = vec3(cost);
    if (u_mode == MODE_ID) picture = vec3(id);
    return vec4(picture, coverage);
}

// The pixel of a ray that meets nothing.
vec4 trace_nothing() {
    return vec4(u_mode == MODE_COLOUR ? u_background : vec3(u_mode == MODE_ID ? -1.0 : 0.0), 0.0);
}
