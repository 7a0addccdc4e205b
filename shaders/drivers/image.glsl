// A picture in the plane z = 0, one evaluation a pixel. Both hosts share it: image.comp and image.frag. Its
// numpy twin is in render/drivers/image.py.
//
// A family defines (shaders/families/):
//   vec4 picture(vec2 uv)   premultiplied colour and alpha at uv in [0, 1], from the picture's bottom left
#asset bounds
#include family

uniform int u_mode;
uniform vec3 u_background;

// The pixel of a ray; coverage is in .w, cost is 1 where the ray meets the picture.
vec4 image_pixel(vec3 o, vec3 d, out float cost) {
    float t = abs(d.z) < 1e-12 ? -1.0 : -o.z / d.z;
    vec2 uv = (o.xy + t * d.xy - box_low.xy) / (box_high.xy - box_low.xy);
    bool meets = t >= 0.0 && all(greaterThanEqual(uv, vec2(0.0))) && all(lessThanEqual(uv, vec2(1.0)));
    cost = meets ? 1.0 : 0.0;
    vec4 rgba = vec4(0.0);
    if (meets) {
        rgba = picture(uv);
        rgba.a = clamp(rgba.a, 0.0, 1.0);
    }
    if (u_mode == MODE_COLOUR) rgba.rgb += (1.0 - rgba.a) * u_background;
    if (u_mode == MODE_DEPTH) rgba.rgb = vec3(rgba.a > 0.0 ? t : 0.0);
    if (u_mode == MODE_COST) rgba.rgb = vec3(cost);
    return rgba;
}
