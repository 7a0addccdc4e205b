// Rays go on within their cell, by up to two evaluations: until a layer ends or they leave it.
#include "drivers/trace_cells_state.glsl"

layout(local_size_x = GROUP) in;
#include family
#include "drivers/trace_cells_item.glsl"

#ifdef FIRST_HIT
layout(std430, binding = 6) writeonly buffer cells_hits {
    vec4 hits[];
};
uniform int u_occlusion;
#endif

void main() {
    Item item = cells_item();
    float longest = length((box_high - box_low) / vec3(occupancy_size));
    Ray ray = cells_ray(item.ray);
    float shown_id;
    int layer;
    Search s = cells_state(item.ray, shown_id, layer);
    search_step(ray, longest, cell_distance(cell_point(trace_point(ray, s.t), item.cell)), s);
    float f = cell_distance(cell_point(trace_point(ray, s.t), item.cell));
    if (s.stage < HIT && network_cell(trace_point(ray, s.t)) == item.cell) search_step(ray, longest, f, s);
    if (item.idle) return;
    cells_save(item.ray, s, shown_id, layer);
    if (s.stage < HIT) cells_push(SEARCHING, item.ray, trace_network(ray, s.t));
#ifdef FIRST_HIT
    if (s.stage == HIT && s.th < ray.t1) {
        hits[3u * item.ray] = vec4(s.th, -1.0, s.side, s.cost);
        if (u_occlusion == 0) cells_push(SHADING_QUEUE, item.ray, trace_network(ray, s.th));
    }
#else
    if (s.stage == HIT || s.stage == GRAZE) cells_push(SHADING_QUEUE, item.ray, trace_network(ray, s.th));
#endif
}
