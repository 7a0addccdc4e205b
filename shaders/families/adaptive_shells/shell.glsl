// Adaptive shells: leaf functions for drivers/shell_sum.glsl. The numpy twin is render/shell_field.py.
// geometry: features, u -> [f, log kappa, predicted normal 3, h]
// colour: h, normal, direction -> display colour
#asset grid features
#asset network geometry
#asset network colour
#asset constant float min_kappa
#asset constant float max_kappa

#define FIELD_BLOCKS GEOMETRY_BLOCKS
#define H_BLOCKS ((GEOMETRY_WIDTH - 2) / 4)  // of GEOMETRY_WIDTH - 5 values

void field_evaluate(vec3 u, out vec4 y[FIELD_BLOCKS]) {
    vec4 x[FEATURES_BLOCKS], p[1];
    features(u, x);
    p[0] = vec4(u, 0.0);
    geometry(x, p, y);
}

// As predicted, in the units of f: a unit vector in which f grows.
vec3 field_normal(vec4 y[FIELD_BLOCKS]) {
    vec3 n = vec3(y[0].zw, y[1].x);
    return n / max(length(n), 1e-6);
}

float log_sigmoid(float z) {
    return min(z, 0.0) - log(1.0 + exp(-abs(z)));
}

// Optical thickness of a section of a ray, v long, about the place of y, if f is linear along it.
float field_optical(vec4 y[FIELD_BLOCKS], vec3 v) {
    float kappa = exp(clamp(y[0].y, log(min_kappa), log(max_kappa)));
    float half_change = 0.5 * min(dot(field_normal(y), v), 0.0);
    float before = kappa * (y[0].x - half_change), after = kappa * (y[0].x + half_change);
    return max(log_sigmoid(before) - log_sigmoid(after), 0.0);
}

// d: a unit vector.
vec3 field_shade(vec4 y[FIELD_BLOCKS], vec3 d) {
    vec4 padded[FIELD_BLOCKS + 1], h[H_BLOCKS], n[1], direction[1], rgb[COLOUR_BLOCKS];
    for (int i = 0; i < FIELD_BLOCKS; ++i) padded[i] = y[i];
    padded[FIELD_BLOCKS] = vec4(0.0);
    for (int i = 0; i < H_BLOCKS; ++i) h[i] = vec4(padded[i + 1].yzw, padded[i + 2].x);
    n[0] = vec4(field_normal(y), 0.0);
    direction[0] = vec4(d, 0.0);
    colour(h, n, direction, rgb);
    return rgb[0].xyz;
}
