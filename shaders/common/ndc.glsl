// Normalised device coordinates: the twin of render/ndc.py, whose constants in capitals these are.
#asset constant int forward
#asset constant vec2 ndc
#asset constant vec4 frame_x
#asset constant vec4 frame_y
#asset constant vec4 frame_z

vec3 in_frame(vec4 v) { return vec3(dot(frame_x, v), dot(frame_y, v), dot(frame_z, v)); }

// A ray on the near plane and at infinity; o and d are in the frame.
void ndc_ends(vec3 o, vec3 d, out vec3 first, out vec3 last) {
    float dz = min(d.z, -SIDEWAYS * length(d));
    vec3 start = o - (1.0 + o.z) / dz * d;
    first = vec3(-ndc * start.xy / start.z, 1.0 + 2.0 / start.z);
    last = vec3(-ndc * d.xy / dz, 1.0);
}

// -z in the frame, from 1 on, of z in normalised device coordinates; and the way back.
float ndc_depth(float z) { return 2.0 / (1.0 - min(z, 1.0 - NEAREST_TO_INFINITY)); }
float ndc_z(float depth) { return 1.0 - 2.0 / max(depth, 1.0); }

// A slope in normalised device coordinates at y as one in the world, but for its length.
vec3 ndc_slope(vec3 y, vec3 slope) {
    float depth = ndc_depth(y.z);
    vec3 by_frame = vec3(ndc / depth * slope.xy, (dot(y.xy, slope.xy) - 2.0 * slope.z / depth) / depth);
    return by_frame.x * frame_x.xyz + by_frame.y * frame_y.xyz + by_frame.z * frame_z.xyz;
}
