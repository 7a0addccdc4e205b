// Last pass of the compute host: the samples of each ray become its pixel.
#include "drivers/shell_number.glsl"
#include "drivers/shell_work.glsl"
#include "drivers/shell_sum.glsl"
layout(binding = 0) writeonly uniform image2D i_picture;
layout(r32f, binding = 1) writeonly uniform image2D i_cost;
uniform ivec2 u_pixels;

void main() {
    uint id = dispatch_id();
    if (id >= uint(u_count)) return;
    uvec4 ray = work_list[id];
    ivec2 at = ivec2(int(ray.x) % u_pixels.x, int(ray.x) / u_pixels.x);
    Sum sum = sum_start();
    uint k = 0u;
    do {
        sum_add(sum, work_samples[ray.y + k]);
        k += 1u;
    } while (k < ray.z && sum_goes_on(sum));
    sum.length_ = uintBitsToFloat(ray.w);
    imageStore(i_picture, at, sum_picture(sum));
    imageStore(i_cost, at, vec4(float(ray.z)));
}
