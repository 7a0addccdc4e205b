// Second pass of the compute host: marches the listed rays.
#include "common/camera.glsl"
#include "drivers/march.glsl"
#include "drivers/ray_list.glsl"

layout(binding = 0) writeonly uniform image2D i_picture;
layout(r32f, binding = 1) writeonly uniform image2D i_cost;

void main() {
    uint slot = dispatch_id();
    if (slot >= list_count) return;
    uvec2 entry = list_rays[slot];
    ivec2 pixel = ivec2(entry.x & 65535u, entry.x >> 16u);
    vec3 o, d;
    camera_ray(vec2(pixel) + 0.5, o, d);
    float cost;
    imageStore(i_picture, pixel, march(march_ray(o, d), float(entry.y), cost));
    imageStore(i_cost, pixel, vec4(cost));
}
