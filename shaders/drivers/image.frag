// Fragment host of the image driver. Row 0 of the target is the picture's top row.
#include "common/camera.glsl"
#include "drivers/image.glsl"

layout(location = 0) out vec4 o_picture;
layout(location = 1) out float o_cost;

void main() {
    vec3 o, d;
    camera_ray(gl_FragCoord.xy, o, d);
    o_picture = image_pixel(o, d, o_cost);
}
