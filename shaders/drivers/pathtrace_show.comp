// Last pass of a frame: the mean of all samples as a picture.
#include "common/colour.glsl"
#include "common/dispatch.glsl"
#include "drivers/pathtrace_sums.glsl"

layout(std430, binding = 0) readonly buffer path_sums { Sum sums[]; };
layout(std430, binding = 1) readonly buffer light_in { vec4 light[]; };
layout(binding = 0) writeonly uniform image2D i_picture;
layout(r32f, binding = 1) writeonly uniform image2D i_cost;

uniform int u_width, u_count, u_mode, u_filtered;
uniform float u_samples, u_exposure;

void main() {
    int i = int(dispatch_id());
    if (i >= u_count) return;
    ivec2 pixel = ivec2(i % u_width, i / u_width);
    Sum sum = sums[i];
    float met = max(sum.albedo.w, 1.0), evaluations = sum.radiance.w / u_samples;
    vec3 radiance = sum.radiance.rgb / u_samples;
    if (u_filtered != 0) radiance = light[i].rgb * sums_albedo(sum.albedo.rgb / u_samples);
    vec3 picture = srgb_from_linear(u_exposure * radiance);
    if (u_mode == MODE_DEPTH) picture = vec3(sum.first.w / met);
    vec3 n = sum.first.xyz;
    if (u_mode == MODE_NORMAL) picture = n * inversesqrt(max(dot(n, n), 1e-30));
    if (u_mode == MODE_COST) picture = vec3(evaluations);
    imageStore(i_picture, pixel, vec4(picture, sum.albedo.w / u_samples));
    imageStore(i_cost, pixel, vec4(evaluations));
}
