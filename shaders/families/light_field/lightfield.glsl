// Light fields: a ray becomes the points that the trunk takes. The twin of RayPoints in
// render/light_field_rays.py, whose constants in capitals these are.
#include "common/ndc.glsl"
#asset constant int points

// position: the camera's in the world; d: through a pixel, one unit deep. Points are first + k/(K-1) * along.
void light_field_ray(vec3 position, vec3 d, out vec3 first, out vec3 along) {
    if (forward == 0) {
        float middle = length(position);
        float near = max(middle - HALF_DIAGONAL, NEAREST);
        first = position + near * d;
        along = (middle + HALF_DIAGONAL - near) * d;
        return;
    }
    vec3 last;
    ndc_ends(in_frame(vec4(position, 1.0)), in_frame(vec4(d, 0.0)), first, last);
    along = last - first;
}
