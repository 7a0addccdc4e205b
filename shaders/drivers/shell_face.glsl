// A face of a mesh where the ray of a pixel meets it. Four texels a face: its plane (n, dot(n, x)), n a unit
// vector that points outwards, and its corners; render/mesh_hits.py lays them out.
//
// START is NEAR of render/intervals.py. t is the distance to the plane in float32, which interpolation
// between corners would only approach.
#include "common/camera.glsl"
uniform highp sampler2D u_faces;

vec4 face_part(int part) {
    int i = 4 * gl_PrimitiveID + part;
    return texelFetch(u_faces, ivec2(i & 2047, i >> 11), 0);
}

// t of the fragment's face, and whether the ray enters there; 0 where it does not count.
float face_hit(out bool enters) {
    vec3 o, d;
    camera_ray(gl_FragCoord.xy, o, d);
    vec4 plane = face_part(0);
    float cosine = dot(plane.xyz, d), gap = plane.w - dot(plane.xyz, o);
    enters = cosine < 0.0;
    float t = gap / (abs(cosine) > 1e-12 ? cosine : 1e-12);
    return t > START && t < 1e30 && abs(cosine) > 1e-12 ? t : 0.0;
}
