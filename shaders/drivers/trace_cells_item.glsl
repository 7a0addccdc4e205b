// The ray of an invocation, of those that wait for one network, whose weights the group has loaded.
//
// What evaluates a network must not stand in a branch or a loop: there, software looks at each lane of each
// weight, and takes seconds to compile. So invocations without a ray work on another one's, and keep the
// result to themselves.
struct Item {
    uint ray;
    int network;
    ivec3 cell;   // the network's
    bool idle;
};

Item cells_item() {
    uint number = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
    uvec4 item = items[min(number, item_count - 1u)];
    cell_load(int(item.x));
    barrier();
    uint slot = item.y + gl_LocalInvocationIndex;
    ivec3 cell = cells_place(int(item.x));
    return Item(sorted[min(slot, item.z - 1u)], int(item.x), cell, number >= item_count || slot >= item.z);
}
