// Light fields: a ray becomes the points that the trunk takes. The twin of RayPoints in
// render/light_field_rays.py, whose constants in capitals these are.
#asset constant int points
#asset constant int forward
#asset constant vec2 ndc
#asset constant vec4 frame_x
#asset constant vec4 frame_y
#asset constant vec4 frame_z


vec3 in_frame(vec4 v) { return vec3(dot(frame_x, v), dot(frame_y, v), dot(frame_z, v)); }

// position: the camera's in the world; d: through a pixel, one unit deep. Points are first + k/(K-1) * along.
void light_field_ray(vec3 position, vec3 d, out vec3 first, out vec3 along) {
    vec3 o = in_frame(vec4(position, 1.0));
    d = in_frame(vec4(d, 0.0));
    if (forward == 0) {
        float middle = length(position);
        float near = max(middle - HALF_DIAGONAL, NEAREST);
        first = o + near * d;
        along = (middle + HALF_DIAGONAL - near) * d;
        return;
    }
    float dz = min(d.z, -FARTHEST_SIDEWAYS);
    vec3 start = o - (1.0 + o.z) / dz * d;
    first = vec3(-ndc * start.xy / start.z, 1.0 + 2.0 / start.z);
    along = vec3(-ndc * d.xy / dz, 1.0) - first;
}
