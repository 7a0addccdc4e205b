// Rays go to where they enter occupied space, and wait there to be searched.
#include "drivers/trace_cells_state.glsl"

layout(local_size_x = 64) in;
#ifdef FIRST_HIT
layout(std430, binding = 6) writeonly buffer cells_hits {
    vec4 hits[];
};
#endif

void main() {
    uint id = gl_GlobalInvocationID.x;
    if (id >= uint(u_rays)) return;
    Ray ray = cells_ray(id);
    float t = trace_next(ray, ray.t0);
    Search s = search_start(ray, t);
    if (t < ray.t1) {
        cells_push(SEARCHING, id, trace_network(ray, t));
    } else {
        s.stage = LEFT;
    }
    cells_save(id, s, -1.0, 0);
    states[4u * id + 3u] = vec4(0.0);
#ifdef FIRST_HIT
    hits[3u * id] = vec4(-1.0, -1.0, 0.0, 0.0);
#endif
}
