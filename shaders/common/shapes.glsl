// Where a ray o + t d (d a unit vector) meets a shape: the first t above NEAR, or FAR where there is none,
// and the unit normal there, which points out of the shape.
const float FAR = 1e30, NEAR = 1e-5;

float first_of(float near, float far) {
    return near > NEAR ? near : far > NEAR ? far : FAR;
}

// The half chord from the ray's nearest point, which keeps its digits for small and far spheres: Haines,
// Guenther and Akenine-Moeller, Ray Tracing Gems 2019, chapter 7.
float sphere_hit(vec3 o, vec3 d, vec3 centre, float radius) {
    vec3 from = o - centre;
    float b = -dot(from, d);
    vec3 nearest = from + b * d;
    float gap = radius * radius - dot(nearest, nearest);
    float q = b + (b < 0.0 ? -1.0 : 1.0) * sqrt(max(gap, 0.0));
    float other = (dot(from, from) - radius * radius) / (abs(q) > 1e-20 ? q : 1e-20);
    return gap > 0.0 ? first_of(min(q, other), max(q, other)) : FAR;
}

// Points x with dot(n, x) = offset.
float plane_hit(vec3 o, vec3 d, vec3 n, float offset) {
    float slope = dot(n, d);
    float t = (offset - dot(n, o)) / (abs(slope) > 1e-9 ? slope : 1e-9);
    return abs(slope) > 1e-9 && t > NEAR ? t : FAR;
}

// Columns of axes are the unit axes of the box.
float box_hit(vec3 o, vec3 d, vec3 centre, mat3 axes, vec3 half_size, out vec3 n) {
    vec3 p = (o - centre) * axes, v = d * axes;
    vec3 inverse = 1.0 / mix(v, vec3(1e-12), lessThan(abs(v), vec3(1e-12)));
    vec3 reach = abs(inverse) * half_size, middle = -p * inverse;
    vec3 near = middle - reach, far = middle + reach;
    float enter = max(near.x, max(near.y, near.z)), leave = min(far.x, min(far.y, far.z));
    float t = enter < leave ? first_of(enter, leave) : FAR;
    vec3 at = (p + min(t, 1e6) * v) / half_size;
    vec3 side = abs(at);
    vec3 face = side.y > side.z ? vec3(0.0, 1.0, 0.0) : vec3(0.0, 0.0, 1.0);
    face = side.x > max(side.y, side.z) ? vec3(1.0, 0.0, 0.0) : face;
    n = axes * (face * sign(at));
    return t;
}

// Corner + u a + v b, u and v in [0, 1], a and b at right angles.
float rectangle_hit(vec3 o, vec3 d, vec3 corner, vec3 a, vec3 b, out vec3 n) {
    n = normalize(cross(a, b));
    float t = plane_hit(o, d, n, dot(n, corner));
    vec3 from = o + min(t, 1e6) * d - corner;
    vec2 at = vec2(dot(from, a) / dot(a, a), dot(from, b) / dot(b, b));
    return all(greaterThanEqual(at, vec2(0.0))) && all(lessThanEqual(at, vec2(1.0))) ? t : FAR;
}

// Moeller and Trumbore 1997; a and b are the edges from the corner.
float triangle_hit(vec3 o, vec3 d, vec3 corner, vec3 a, vec3 b) {
    vec3 p = cross(d, b);
    float det = dot(a, p);
    float inverse = 1.0 / (abs(det) > 1e-20 ? det : 1e-20);
    vec3 from = o - corner;
    float u = dot(from, p) * inverse;
    vec3 q = cross(from, a);
    float v = dot(d, q) * inverse, t = dot(b, q) * inverse;
    bool inside = abs(det) > 1e-20 && min(u, v) >= 0.0 && u + v <= 1.0;
    return inside && t > NEAR ? t : FAR;
}
