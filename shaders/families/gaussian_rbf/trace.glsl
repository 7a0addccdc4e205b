// Gaussian RBF distance field: leaf functions for drivers/trace.glsl. decoder: features -> distance /
// distance_scale.
#asset grid features
#asset network decoder
#asset grid features jacobian
#asset network decoder jacobian
#asset constant float distance_scale
#asset constant vec3 albedo
#asset constant float ambient

float field_distance(vec3 u) {
    vec4 x[FEATURES_BLOCKS], y[DECODER_BLOCKS];
    features(u, x);
    decoder(x, y);
    return distance_scale * y[0].x;
}

vec4 field_distance_gradient(vec3 u) {
    vec4 x[FEATURES_BLOCKS], x_dx[FEATURES_BLOCKS], x_dy[FEATURES_BLOCKS], x_dz[FEATURES_BLOCKS];
    vec4 y[DECODER_BLOCKS], y_dx[DECODER_BLOCKS], y_dy[DECODER_BLOCKS], y_dz[DECODER_BLOCKS];
    features_jvp(u, x, x_dx, x_dy, x_dz);
    decoder_jvp(x, x_dx, x_dy, x_dz, y, y_dx, y_dy, y_dz);
    return distance_scale * vec4(y_dx[0].x, y_dy[0].x, y_dz[0].x, y[0].x);
}

// Clay under a headlight.
vec3 field_colour(vec3 u, vec3 n, vec3 d) {
    return albedo * (ambient + (1.0 - ambient) * abs(dot(n, d)));
}
