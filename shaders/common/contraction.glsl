// All of space in the ball of radius 2, and the lattice along a ray: the twin of render/contraction.py.
const float LATTICE_FAR = 50.0;

vec3 contract(vec3 x) {
    float norm = max(length(x), 1.0);
    return (2.0 - 1.0 / norm) / norm * x;
}

// The derivative of contract at x, which is symmetric, times v.
vec3 contract_slope(vec3 x, vec3 v) {
    float norm = max(length(x), 1.0);
    vec3 n = x / norm, along = dot(n, v) * n;
    return norm > 1.0 ? (2.0 - 1.0 / norm) / norm * (v - along) + along / (norm * norm) : v;
}

float lattice_place(float distance_) {
    float beyond = max(abs(distance_), 1.0);
    return beyond > 1.0 ? sign(distance_) * (2.0 - 1.0 / beyond) : distance_;
}

float lattice_distance(float s) {
    float beyond = max(abs(s), 1.0);
    return beyond > 1.0 ? sign(s) / (2.0 - beyond) : s;
}
