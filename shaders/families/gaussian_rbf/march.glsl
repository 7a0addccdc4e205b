// Gaussian RBF radiance field: leaf functions for drivers/march.glsl. The family is
// training/families/gaussian_rbf/radiance.py. decoder: features -> [log density, h]; view: direction -> one row [bias,
// weights of h] per colour channel.
#asset grid features
#asset network decoder
#asset network view rows 3
#asset constant float max_log_density

#define FIELD_BLOCKS DECODER_BLOCKS
#define HEAD_BLOCKS VIEW_BLOCKS

void field_evaluate(vec3 u, out vec4 y[FIELD_BLOCKS]) {
    vec4 x[FEATURES_BLOCKS];
    features(u, x);
    decoder(x, y);
}

float field_density(vec4 y[FIELD_BLOCKS], vec3 d) {
    return exp(min(y[0].x, max_log_density));
}

// The output layer is linear in the harmonics of d, so it becomes one matrix for the whole ray.
void field_head(vec3 d, out vec4 head[HEAD_BLOCKS]) {
    vec4 direction[1];
    direction[0] = vec4(d, 0.0);
    view(direction, head);
}

vec3 field_colour(vec4 head[HEAD_BLOCKS], vec4 y[FIELD_BLOCKS]) {
    y[0].x = 1.0;  // the density's place is the bias's
    vec3 z = vec3(0.0);
    for (int i = 0; i < FIELD_BLOCKS; ++i) {
        vec4 red = head[i], green = head[FIELD_BLOCKS + i], blue = head[2 * FIELD_BLOCKS + i];
        z += vec3(dot(red, y[i]), dot(green, y[i]), dot(blue, y[i]));
    }
    return 1.0 / (1.0 + exp(-z));
}

#if NORMALS
#asset grid features jacobian
#asset network decoder jacobian

vec3 field_density_gradient(vec3 u) {
    vec4 x[FEATURES_BLOCKS], x_dx[FEATURES_BLOCKS], x_dy[FEATURES_BLOCKS], x_dz[FEATURES_BLOCKS];
    vec4 y[FIELD_BLOCKS], y_dx[FIELD_BLOCKS], y_dy[FIELD_BLOCKS], y_dz[FIELD_BLOCKS];
    features_jvp(u, x, x_dx, x_dy, x_dz);
    decoder_jvp(x, x_dx, x_dy, x_dz, y, y_dx, y_dy, y_dz);
    vec3 slope = vec3(y_dx[0].x, y_dy[0].x, y_dz[0].x);
    return y[0].x < max_log_density ? field_density(y, vec3(0.0)) * slope : vec3(0.0);
}
#endif
