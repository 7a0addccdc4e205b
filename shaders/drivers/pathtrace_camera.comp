// First pass of a sample: a ray through a point of each pixel.
#include "common/camera.glsl"
#include "common/sequence.glsl"
#include "drivers/pathtrace_path.glsl"

void main() {
    int i = int(dispatch_id());
    if (i >= u_count) return;
    vec2 pixel = vec2(i % u_width, i / u_width) + sequence(u_sample, stream_of(i, 0));
    vec3 o, d;
    camera_ray(pixel, o, d);
    vec2 slope = (pixel - u_centre) / u_focal;
    float cone = 0.5 * inversesqrt(abs(u_focal.x * u_focal.y) * (1.0 + dot(slope, slope)));
    rays[i] = RayRecord(vec4(o, cone), vec4(d, 1e30));
    shadows[i].direction.w = 0.0;
    lists[HEADS + i] = uint(i);
    paths[i] = Path(vec4(1.0, 1.0, 1.0, -1.0), vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
}
