// First pass of a compute host: draws the pixels of rays that meet nothing and lists the others for the pass
// that evaluates, so that no lane of that one idles. The driver defines, before it includes this file:
//   bool ray_enters(vec2 pixel, out uint entry)  whether the ray meets anything; what its entry holds
#include "drivers/ray_list.glsl"

layout(binding = 0) writeonly uniform image2D i_picture;
layout(r32f, binding = 1) writeonly uniform image2D i_cost;
uniform vec4 u_nothing;

void main() {
    // eight invocations in a row, which software runs as one vector, are a block of 4 x 2 pixels
    int i = int(gl_LocalInvocationIndex);
    ivec2 inside = ivec2((i & 3) | ((i >> 1) & 4), ((i >> 2) & 1) | ((i >> 3) & 6));
    ivec2 pixel = 8 * ivec2(gl_WorkGroupID.xy) + inside;
    ivec2 size = imageSize(i_picture);
    if (pixel.x >= size.x || pixel.y >= size.y) return;
    uint entry;
    if (ray_enters(vec2(pixel) + 0.5, entry)) {
        uint slot = atomicAdd(list_count, 1u);
        DISPATCH_GROWS(list_groups_x, list_groups_y, slot)
        list_rays[slot] = uvec2(uint(pixel.x) | uint(pixel.y) << 16u, entry);
    } else {
        imageStore(i_picture, pixel, u_nothing);
        imageStore(i_cost, pixel, vec4(0.0));
    }
}
