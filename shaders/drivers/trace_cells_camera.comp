// The rays of a part of a picture, one a pixel.
#include "drivers/trace_ray.glsl"
#include "drivers/trace_cells_rays.glsl"

layout(local_size_x = 64) in;
uniform ivec2 u_size;
uniform int u_first;   // pixel

void main() {
    int id = int(gl_GlobalInvocationID.x);
    if (id >= u_rays) return;
    vec2 pixel = vec2((u_first + id) % u_size.x, (u_first + id) / u_size.x) + 0.5;
    vec3 o, d;
    camera_ray(pixel, o, d);
    records[2 * id] = vec4(o, pixel_cone(pixel));
    records[2 * id + 1] = vec4(d, 1e30);
}
