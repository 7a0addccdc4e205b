// Second pass of the compute host: traces the listed rays.
#include "drivers/trace.glsl"
#include "drivers/ray_list.glsl"

layout(binding = 0) writeonly uniform image2D i_picture;
layout(r32f, binding = 1) writeonly uniform image2D i_cost;

void main() {
    uint slot = dispatch_id();
    if (slot >= list_count) return;
    uvec2 entry = list_rays[slot];
    ivec2 pixel = ivec2(entry.x & 65535u, entry.x >> 16u);
    float cost;
    imageStore(i_picture, pixel, trace(trace_ray(vec2(pixel) + 0.5), uintBitsToFloat(entry.y), cost));
    imageStore(i_cost, pixel, vec4(cost));
}
