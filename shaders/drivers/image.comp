// Compute host of the image driver: one pass, one invocation a pixel.
#include "common/camera.glsl"
#include "drivers/image.glsl"

layout(local_size_x = 64) in;
layout(binding = 0) writeonly uniform image2D i_picture;
layout(r32f, binding = 1) writeonly uniform image2D i_cost;

void main() {
    // eight invocations in a row, which software runs as one vector, are a block of 4 x 2 pixels
    int i = int(gl_LocalInvocationIndex);
    ivec2 inside = ivec2((i & 3) | ((i >> 1) & 4), ((i >> 2) & 1) | ((i >> 3) & 6));
    ivec2 pixel = 8 * ivec2(gl_WorkGroupID.xy) + inside;
    ivec2 size = imageSize(i_picture);
    if (pixel.x >= size.x || pixel.y >= size.y) return;
    vec3 o, d;
    camera_ray(vec2(pixel) + 0.5, o, d);
    float cost;
    imageStore(i_picture, pixel, image_pixel(o, d, cost));
    imageStore(i_cost, pixel, vec4(cost));
}
