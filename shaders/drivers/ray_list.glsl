#include "common/dispatch.glsl"
// The rays that have something to evaluate, and the dispatch that takes 64 of them a group.
layout(std430, binding = 0) buffer ray_list {
    uint list_groups_x, list_groups_y, list_groups_z;
    uint list_count;
    uvec2 list_rays[];  // pixel: column | row << 16; what the driver's ray_enters gave
};
