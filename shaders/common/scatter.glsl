// Directions by chance, and how surfaces scatter. Directions of a surface are in its own frame, z along the
// normal, and point away from it; u is a pair in [0, 1).
const float PI = 3.14159265358979;

// An orthonormal frame about a unit vector, its columns x, y and n: Duff et al., JCGT 2017.
mat3 frame_of(vec3 n) {
    float s = n.z >= 0.0 ? 1.0 : -1.0;
    float a = -1.0 / (s + n.z), b = n.x * n.y * a;
    return mat3(vec3(1.0 + s * n.x * n.x * a, s * b, -s * n.x), vec3(b, s + n.y * n.y * a, -n.y), n);
}

// With density cos / pi.
vec3 sample_cosine(vec2 u) {
    float r = sqrt(u.x), phi = 2.0 * PI * u.y;
    return vec3(r * cos(phi), r * sin(phi), sqrt(max(1.0 - u.x, 0.0)));
}

// Evenly in the cone about z whose angle has 1 - cosine = flat; density 1 / (2 pi flat).
vec3 sample_cone(vec2 u, float flat_part) {
    float lift = u.x * flat_part, phi = 2.0 * PI * u.y;
    float r = sqrt(max(lift * (2.0 - lift), 0.0));
    return vec3(r * cos(phi), r * sin(phi), 1.0 - lift);
}

float power_heuristic(float a, float b) {
    return a * a / max(a * a + b * b, 1e-30);
}

// Reflectance of a smooth dielectric, unpolarised; cosine and eta (inside over outside, seen from where the
// ray comes) at the first side. 1 where nothing is let through. refracted: the cosine on the other side.
float fresnel(float cosine, float eta, out float refracted) {
    float square = 1.0 - (1.0 - cosine * cosine) / (eta * eta);
    refracted = sqrt(max(square, 0.0));
    float across = (cosine - eta * refracted) / (cosine + eta * refracted);
    float along = (eta * cosine - refracted) / (eta * cosine + refracted);
    return square > 0.0 ? 0.5 * (across * across + along * along) : 1.0;
}

// Rough metal: microfacets of the GGX distribution with Smith's shadowing (Walter et al. 2007, Heitz 2014).
float ggx_lambda(vec3 w, float alpha) {
    float slope = alpha * alpha * dot(w.xy, w.xy) / max(w.z * w.z, 1e-12);
    return 0.5 * sqrt(1.0 + slope) - 0.5;
}

// A normal of those that w sees: Dupuy and Benyoub, Sampling Visible GGX Normals with Spherical Caps, 2023.
vec3 sample_ggx(vec2 u, vec3 w, float alpha) {
    vec3 up = normalize(vec3(alpha * w.xy, w.z));
    float phi = 2.0 * PI * u.x, z = 1.0 - u.y * (1.0 + up.z);
    float r = sqrt(max(1.0 - z * z, 0.0));
    vec3 m = vec3(r * cos(phi), r * sin(phi), z) + up;
    return normalize(vec3(alpha * m.xy, max(m.z, 1e-6)));
}

// Cosine times the reflected part for white metal, single scattering, and in .y the density with which
// sample_ggx leads from w to v.
vec2 ggx(vec3 w, vec3 v, float alpha) {
    vec3 m = normalize(w + v);
    float width = m.z * m.z * (alpha * alpha - 1.0) + 1.0;
    float d = alpha * alpha / (PI * width * width);
    float lw = ggx_lambda(w, alpha), lv = ggx_lambda(v, alpha);
    float common_part = d / (4.0 * max(w.z, 1e-6));
    return v.z > 0.0 ? common_part / vec2(1.0 + lw + lv, 1.0 + lw) : vec2(0.0);
}

// Schlick 1994.
vec3 metal_fresnel(vec3 albedo, float cosine) {
    return albedo + (1.0 - albedo) * pow(max(1.0 - cosine, 0.0), 5.0);
}
