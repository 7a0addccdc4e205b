// The encoded points of every ray of the map: what the trunk's first layer takes, one channel after another.
// They are encoded by OCTAVES octaves, or as they are for 0.
#include "common/camera.glsl"
#include family

layout(local_size_x = 64) in;
layout(std430, binding = 4) writeonly buffer Rays { float encoded[]; };

uniform ivec2 u_size;   // of the map
uniform float u_block;  // pixels of a ray's block along a side

void main() {
    int rays = u_size.x * u_size.y, ray = int(gl_GlobalInvocationID.x);
    if (ray >= rays) return;
    vec2 pixel = (vec2(ray % u_size.x, ray / u_size.x) + 0.5) * u_block;
    vec2 slope = (pixel - u_centre) / u_focal;
    vec3 first, along;
    light_field_ray(u_position, u_world_from_camera * vec3(slope.x, -slope.y, -1.0), first, along);
    for (int k = 0; k < points; ++k) {
        vec3 x = first + float(k) / float(max(points - 1, 1)) * along;
        vec3 s = sin(x), c = cos(x);
        for (int axis = 0; axis < 3; ++axis) encoded[(3 * k + axis) * rays + ray] = x[axis];
        for (int octave = 0; octave < OCTAVES; ++octave) {
            int channel = (1 + 2 * octave) * 3 * points + 3 * k;
            for (int axis = 0; axis < 3; ++axis) {
                encoded[(channel + axis) * rays + ray] = s[axis];
                encoded[(channel + 3 * points + axis) * rays + ray] = c[axis];
            }
            vec3 twice = 2.0 * s * c;
            c = 1.0 - 2.0 * s * s;
            s = twice;
        }
    }
}
