// Evaluates the listed samples, each for itself.
#include "common/camera.glsl"
#include "drivers/shell_number.glsl"
#include "drivers/shell_work.glsl"
#include "drivers/shell_sample.glsl"
uniform ivec2 u_pixels;

void main() {
    uint id = dispatch_id();
    if (id >= uint(u_count)) return;
    vec4 given = work_samples[id];
    int pixel = int(given.z);
    vec3 o, d;
    camera_ray(vec2(pixel % u_pixels.x, pixel / u_pixels.x) + 0.5, o, d);
    work_samples[id] = sample_of(o, d, given.x, given.y, given.w > 0.0);
}
