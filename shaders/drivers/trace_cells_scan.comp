// The bins of a queue become parts of a list, and the parts items of work of at most GROUP rays each.
#include "drivers/trace_cells_rays.glsl"

layout(local_size_x = 128) in;
uniform int u_queue;
shared uvec2 sums[128];

void main() {
    uint lane = gl_LocalInvocationIndex, n = uint(u_networks);
    uint each = (n + 127u) / 128u, first = min(lane * each, n), end = min(first + each, n);
    uint bin = uint(u_queue) * n;
    uvec2 total = uvec2(0u);  // rays and items
    for (uint k = first; k < end; ++k) {
        total += uvec2(bins[bin + k], (bins[bin + k] + uint(GROUP) - 1u) / uint(GROUP));
    }
    sums[lane] = total;
    barrier();
    for (uint step = 1u; step < 128u; step *= 2u) {
        uvec2 before = lane >= step ? sums[lane - step] : uvec2(0u);
        barrier();
        sums[lane] += before;
        barrier();
    }
    uvec2 at = sums[lane] - total;
    for (uint k = first; k < end; ++k) {
        uint count = bins[bin + k];
        bins[bin + k] = 0u;
        bins[2u * n + k] = at.x;
        for (uint start = 0u; start < count; start += uint(GROUP)) {
            items[at.y] = uvec4(k, at.x + start, at.x + min(start + uint(GROUP), count), 0u);
            at.y += 1u;
        }
        at.x += count;
    }
    if (lane == 127u) {
        item_count = at.y;
        item_groups_x = min(at.y, 65535u);
        item_groups_y = (at.y + 65534u) / 65535u;
        item_groups_z = 1u;
        entry_count = at.x;
        entry_groups_x = (at.x + 63u) / 64u;
        entry_groups_y = 1u;
        entry_groups_z = 1u;
        waiting[u_queue] = 0u;
    }
}
