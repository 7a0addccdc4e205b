// KiloNeuS teacher: leaf functions for drivers/trace.glsl. decoder: features, u -> distance / distance_scale;
// colour: features, normal, direction -> display colour.
#asset grid features
#asset network decoder
#asset network colour
#asset grid features jacobian
#asset network decoder jacobian
#asset constant float distance_scale

float field_distance(vec3 u) {
    vec4 x[FEATURES_BLOCKS], p[1], y[DECODER_BLOCKS];
    features(u, x);
    p[0] = vec4(u, 0.0);
    decoder(x, p, y);
    return distance_scale * y[0].x;
}

vec4 field_distance_gradient(vec3 u) {
    vec4 x[FEATURES_BLOCKS], x_dx[FEATURES_BLOCKS], x_dy[FEATURES_BLOCKS], x_dz[FEATURES_BLOCKS];
    vec4 p[1], p_dx[1], p_dy[1], p_dz[1];
    vec4 y[DECODER_BLOCKS], y_dx[DECODER_BLOCKS], y_dy[DECODER_BLOCKS], y_dz[DECODER_BLOCKS];
    features_jvp(u, x, x_dx, x_dy, x_dz);
    p[0] = vec4(u, 0.0);
    p_dx[0] = vec4(1.0, 0.0, 0.0, 0.0);
    p_dy[0] = vec4(0.0, 1.0, 0.0, 0.0);
    p_dz[0] = vec4(0.0, 0.0, 1.0, 0.0);
    decoder_jvp(x, x_dx, x_dy, x_dz, p, p_dx, p_dy, p_dz, y, y_dx, y_dy, y_dz);
    return distance_scale * vec4(y_dx[0].x, y_dy[0].x, y_dz[0].x, y[0].x);
}

vec3 field_colour(vec3 u, vec3 n, vec3 d) {
    vec4 x[FEATURES_BLOCKS], a[1], b[1], y[COLOUR_BLOCKS];
    features(u, x);
    a[0] = vec4(n, 0.0);
    b[0] = vec4(d, 0.0);
    colour(x, a, b, y);
    return y[0].xyz;
}
