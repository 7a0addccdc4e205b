// Which of u_count things an invocation is for.
layout(local_size_x = 64) in;
uniform int u_count;

// A dispatch is as wide as it may be, and as high as it must.
uint dispatch_id() {
    return gl_GlobalInvocationID.x + gl_GlobalInvocationID.y * gl_NumWorkGroups.x * gl_WorkGroupSize.x;
}
