// Features of a grid gathered along every ray of the map: the twin of Gather in render/light_field_rays.py.
#include "common/camera.glsl"
#include family
#asset grid features
#asset network density

layout(local_size_x = 64) in;
layout(std430, binding = 4) writeonly buffer Rays { float gathered[]; };

uniform ivec2 u_size;   // of the map
uniform float u_block;  // pixels of a ray's block along a side

void main() {
    int rays = u_size.x * u_size.y, ray = min(int(gl_GlobalInvocationID.x), rays - 1);
    vec2 pixel = (vec2(ray % u_size.x, ray / u_size.x) + 0.5) * u_block;
    vec2 slope = (pixel - u_centre) / u_focal;
    vec3 first, along;
    light_field_ray(u_position, u_world_from_camera * vec3(slope.x, -slope.y, -1.0), first, along);
    vec4 sums[FEATURES_BLOCKS];
    for (int j = 0; j < FEATURES_BLOCKS; ++j) sums[j] = vec4(0.0);
    float left = 1.0, depth = 0.0;
    for (int k = 0; k < points + min(u_size.x, 0); ++k) {  // a bound that the compiler does not know
        float part = float(k) / float(points - 1);
        vec3 x = first + part * along;
        vec4 f[FEATURES_BLOCKS], z[1];
        features(clamp((x + REACH) / (2.0 * REACH), 0.0, 1.0), f);
        density(f, z);
        float behind = left * exp(-(max(z[0].x, 0.0) + log(1.0 + exp(-abs(z[0].x)))));
        for (int j = 0; j < FEATURES_BLOCKS; ++j) sums[j] += (left - behind) * f[j];
        depth += (left - behind) * (2.0 * part - 1.0);
        left = behind;
    }
    if (int(gl_GlobalInvocationID.x) >= rays) return;
    for (int j = 0; j < FEATURES_WIDTH; ++j) gathered[j * rays + ray] = sums[j / 4][j % 4];
    along = normalize(along);
    gathered[FEATURES_WIDTH * rays + ray] = 1.0 - left;
    for (int axis = 0; axis < 3; ++axis) gathered[(FEATURES_WIDTH + 1 + axis) * rays + ray] = along[axis];
    gathered[(FEATURES_WIDTH + 4) * rays + ray] = depth;
}
