// The rays become pixels.
#include "drivers/trace_cells_rays.glsl"
#include "common/view.glsl"

layout(local_size_x = 64) in;
layout(binding = 0) writeonly uniform image2D i_picture;
layout(r32f, binding = 1) writeonly uniform image2D i_cost;
uniform ivec2 u_size;
uniform int u_first;   // pixel

void main() {
    int id = int(gl_GlobalInvocationID.x);
    if (id >= u_rays) return;
    float cost = states[4 * id + 1].w, T = states[4 * id + 2].x, network = states[4 * id + 2].y;
    vec4 sum = states[4 * id + 3];
    vec3 picture = sum.xyz + T * u_background;
    if (u_mode == MODE_DEPTH) picture = sum.w > 0.0 ? sum.xyz / sum.w : vec3(0.0);
    if (u_mode == MODE_NORMAL) picture = sum.xyz * inversesqrt(max(dot(sum.xyz, sum.xyz), 1e-30));
    if (u_mode == MODE_COST) picture = vec3(cost);
    if (u_mode == MODE_ID) picture = vec3(network);
    ivec2 pixel = ivec2((u_first + id) % u_size.x, (u_first + id) / u_size.x);
    imageStore(i_picture, pixel, vec4(picture, sum.w));
    imageStore(i_cost, pixel, vec4(cost));
}
