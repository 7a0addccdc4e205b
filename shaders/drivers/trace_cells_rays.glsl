// The rays of a bank between the passes of the compute host, and the two queues in which they wait: for the
// search in a cell, and for the end of a layer to be shaded. A ray waits in the bin of its network.
const int SEARCHING = 0, SHADING_QUEUE = 1;

layout(std430, binding = 0) buffer cells_records {
    vec4 records[];    // two a ray: origin, cone; unit direction, largest t
};
layout(std430, binding = 1) buffer cells_states {
    vec4 states[];     // four a ray, see cells_save
};
layout(std430, binding = 2) buffer cells_entries {
    uint entries[];    // three for each place in a queue: ray, network, rank in the network's bin
};
layout(std430, binding = 3) buffer cells_bins {
    uint bins[];       // rays that wait for each network, by queue; then where its part of sorted begins
};
layout(std430, binding = 4) buffer cells_work {
    uint item_groups_x, item_groups_y, item_groups_z, item_count;
    uint entry_groups_x, entry_groups_y, entry_groups_z, entry_count;
    uint waiting[4];   // rays in each queue
    uint unused[4];
    uvec4 items[];     // network, first and end of its part of sorted
};
layout(std430, binding = 5) buffer cells_sorted {
    uint sorted[];     // rays, by network
};

uniform int u_rays;      // how many there are
uniform int u_networks;

// Puts a ray into a queue.
void cells_push(int queue, uint id, int network) {
    uint place = uint(queue * u_rays) + atomicAdd(waiting[queue], 1u);
    entries[3u * place] = id;
    entries[3u * place + 1u] = uint(network);
    entries[3u * place + 2u] = atomicAdd(bins[queue * u_networks + network], 1u);
}
