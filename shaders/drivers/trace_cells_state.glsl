// What a ray carries from pass to pass.
#include "drivers/trace_cells.glsl"
#include "drivers/trace_cells_rays.glsl"

Ray cells_ray(uint id) {
    vec4 a = records[2u * id], b = records[2u * id + 1u];
    Ray ray = trace_ray_from(a.xyz, b.xyz, a.w);
    ray.t1 = min(ray.t1, b.w);
    return ray;
}

void cells_save(uint id, Search s, float shown_id, int layer) {
    int flags = s.stage | layer << 3 | int(s.clear) << 5 | int(s.side + 1.0) << 6;
    states[4u * id] = vec4(s.t, s.ta, s.ga, s.tb);
    states[4u * id + 1u] = vec4(s.gb, s.th, s.low, s.cost);
    states[4u * id + 2u] = vec4(s.T, shown_id, float(flags), 0.0);
}

Search cells_state(uint id, out float shown_id, out int layer) {
    vec4 a = states[4u * id], b = states[4u * id + 1u], c = states[4u * id + 2u];
    int flags = int(c.z);
    shown_id = c.y;
    layer = flags >> 3 & 3;
    float side = float((flags >> 6 & 3) - 1);
    return Search(a.x, a.y, a.z, a.w, b.x, b.y, b.z, side, b.w, c.x, (flags >> 5 & 1) == 1, flags & 7);
}
