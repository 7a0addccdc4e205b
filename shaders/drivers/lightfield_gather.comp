// Features of a grid gathered along every ray of the map: the twin of render/light_field_gather.py.
#include "common/camera.glsl"
#include "drivers/march_ray.glsl"
#asset grid features
#asset network density
#asset constant float stop

layout(local_size_x = 64) in;
layout(std430, binding = 4) writeonly buffer Rays { float gathered[]; };

uniform ivec2 u_size;   // of the map
uniform float u_block;  // pixels of a ray's block along a side

void main() {
    int rays = u_size.x * u_size.y, id = min(int(gl_GlobalInvocationID.x), rays - 1);
    vec3 o, d;
    camera_ray((vec2(id % u_size.x, id / u_size.x) + 0.5) * u_block, o, d);
    Ray ray = march_ray(o, d);
    vec4 sums[FEATURES_BLOCKS];
    for (int j = 0; j < FEATURES_BLOCKS; ++j) sums[j] = vec4(0.0);
    float T = 1.0, k = ray.n > 0.0 ? march_next(ray, 0.0) : 0.0;
    if (k < ray.n) {
        do {  // as in march.glsl
            vec4 f[FEATURES_BLOCKS], s[1];
            features(march_point(ray, k), f);
            density(f, s);
            float kept = exp(-exp(min(s[0].x, MAX_LOG_DENSITY)) * step_size);
            for (int j = 0; j < FEATURES_BLOCKS; ++j) sums[j] += T * (1.0 - kept) * f[j];
            T *= kept;
            k = T < stop ? ray.n : march_next(ray, k + 1.0);
        } while (k < ray.n);
    }
    if (int(gl_GlobalInvocationID.x) >= rays) return;
    for (int j = 0; j < FEATURES_WIDTH; ++j) gathered[j * rays + id] = sums[j / 4][j % 4];
    gathered[FEATURES_WIDTH * rays + id] = 1.0 - T;
    for (int axis = 0; axis < 3; ++axis) gathered[(FEATURES_WIDTH + 1 + axis) * rays + id] = d[axis];
}
