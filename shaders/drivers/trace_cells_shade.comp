// The ends of layers: normal, coverage, colour; then the ray goes on to the next layer, if there is any.
#define SHADING
#include "drivers/trace_cells_state.glsl"

layout(local_size_x = GROUP) in;
#include family
#include "drivers/trace_cells_item.glsl"

#ifdef FIRST_HIT
layout(std430, binding = 6) writeonly buffer cells_hits {
    vec4 hits[];
};
#endif

void main() {
    Item item = cells_item();
    Ray ray = cells_ray(item.ray);
    float shown_id;
    int layer;
    Search s = cells_state(item.ray, shown_id, layer);
    vec4 slope = cell_distance_gradient(cell_point(trace_point(ray, s.th), item.cell));
    vec3 n = cell_slope(slope.xyz) / (box_high - box_low);
    float w = search_resolve(ray, n, slope.w, layer == LAYERS - 1, s);
    n *= inversesqrt(max(dot(n, n), 1e-30));
    vec3 rgb = cell_colour(cell_point(trace_point(ray, s.th), item.cell), n, ray.d);
    if (item.idle) return;
#ifdef FIRST_HIT
    hits[3u * item.ray] = vec4(s.th, float(item.network), s.side, s.cost);
    hits[3u * item.ray + 1u] = vec4(n, 0.0);
    hits[3u * item.ray + 2u] = vec4(rgb, 0.0);
#else
    vec3 value = u_mode == MODE_DEPTH ? vec3(s.th) : u_mode == MODE_NORMAL ? n : rgb;
    states[4u * item.ray + 3u] += w * vec4(value, 1.0);
    shown_id = shown_id < 0.0 && w > 0.0 ? float(item.network) : shown_id;
    layer += 1;
    s.t = trace_next(ray, s.t);
    if (layer < LAYERS && s.T > CLOSED && s.t < ray.t1 && s.cost < EVALUATIONS) {
        s.low = 1.0;
        s.stage = SEARCH;
        cells_push(SEARCHING, item.ray, trace_network(ray, s.t));
    }
    cells_save(item.ray, s, shown_id, layer);
#endif
}
