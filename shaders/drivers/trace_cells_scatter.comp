// Each ray of a queue goes to its place in the sorted list.
#include "drivers/trace_cells_rays.glsl"

layout(local_size_x = 64) in;
uniform int u_queue;

void main() {
    uint place = gl_GlobalInvocationID.x;
    if (place >= entry_count) return;
    place += uint(u_queue * u_rays);
    uint network = entries[3u * place + 1u];
    sorted[bins[2u * uint(u_networks) + network] + entries[3u * place + 2u]] = entries[3u * place];
}
