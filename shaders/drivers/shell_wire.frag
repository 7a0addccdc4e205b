// The edges of faces that are turned to the camera, as lines; the brightest stays (blending).
#include "drivers/shell_face.glsl"
uniform vec3 u_colour;
layout(location = 0) out vec4 o_picture;
layout(location = 1) out float o_cost;

// How far the ray is from the plane through the camera and an edge, in pixels near the middle of the picture.
float line_distance(vec3 a, vec3 b, vec3 d) {
    vec3 n = cross(a, b);
    return abs(dot(n, d)) / max(length(n), 1e-12) * u_focal.y;
}

void main() {
    bool enters;
    float t = face_hit(enters);
    vec3 o, d;
    camera_ray(gl_FragCoord.xy, o, d);
    vec3 a = face_part(1).xyz - o, b = face_part(2).xyz - o, c = face_part(3).xyz - o;
    float gap = min(line_distance(a, b, d), min(line_distance(b, c, d), line_distance(c, a, d)));
    float drawn = enters && t > 0.0 ? clamp(LINE_WIDTH + 0.5 - gap, 0.0, 1.0) : 0.0;
    o_picture = vec4(drawn * u_colour, drawn);
    o_cost = 0.0;
}
