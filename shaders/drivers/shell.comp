// Last pass of the compute host: the pixels of one bin, sample by sample.
#include "common/camera.glsl"
#include "drivers/shell_work.glsl"
#include "drivers/shell_ray.glsl"

layout(local_size_x = 64) in;
layout(rgba32f, binding = 0) writeonly uniform image2D i_picture;
layout(r32f, binding = 1) writeonly uniform image2D i_cost;
uniform sampler2D u_solid;
uniform vec4 u_nothing;
uniform int u_bin;

void main() {
    uint slot = gl_GlobalInvocationID.x;
    if (slot >= work_bins[u_bin].w) return;
    int pixel = int(work_pixels[work_start(u_bin, u_pixels.x * u_pixels.y) + slot]);
    ivec2 at = ivec2(pixel % u_pixels.x, pixel / u_pixels.x);
    vec3 o, d;
    camera_ray(vec2(at) + 0.5, o, d);
#if BVH
    float solid = hit_solid(o, d);
#else
    float solid = texelFetch(u_solid, at, 0).x;
#endif
    Walk walk = walk_start();
    Sum sum = sum_of_ray(walk, pixel, o, d, solid);
    vec4 picture = sum.cost > 0.0 ? sum_picture(sum) : u_nothing;
#if BVH
    if (walk.broken > 0.0) atomicAdd(work_broken.x, 1u);
#endif
    imageStore(i_picture, at, picture);
    imageStore(i_cost, at, vec4(sum.cost));
}
