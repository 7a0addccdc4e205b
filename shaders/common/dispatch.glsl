// Work on more things than the longest row of groups has invocations: there are as many rows as it takes. See
// groups_of in render/glsl.py.
layout(local_size_x = 64) in;
const uint LONGEST_ROW = 65535u;  // of groups, what OpenGL grants

uint dispatch_id() {
    return gl_GlobalInvocationID.x + gl_GlobalInvocationID.y * gl_NumWorkGroups.x * 64u;
}

// A list got the entry `slot`: its dispatch, of 64 entries a group, begins with a row that is empty.
#define DISPATCH_GROWS(groups_x, groups_y, slot) \
    if (((slot) & 63u) == 0u) { \
        uint group_ = (slot) >> 6u; \
        if (group_ < LONGEST_ROW) atomicAdd(groups_x, 1u); \
        else atomicMax(groups_y, group_ / LONGEST_ROW + 1u); \
    }
