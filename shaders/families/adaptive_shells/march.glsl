// Adaptive shells drawn without their meshes: leaf functions for drivers/march.glsl. A sample stands for the
// section of one step, and what that absorbs is density.
#include "families/adaptive_shells/shell.glsl"

#define HEAD_BLOCKS 1

float field_density(vec4 y[FIELD_BLOCKS], vec3 d) {
    return field_optical(y, step_size * d) / step_size;
}

void field_head(vec3 d, out vec4 head[HEAD_BLOCKS]) {
    head[0] = vec4(d, 0.0);
}

vec3 field_colour(vec4 head[HEAD_BLOCKS], vec4 y[FIELD_BLOCKS]) {
    return field_shade(y, head[0].xyz);
}

// That of the predicted normal: density falls where f grows.
vec3 field_density_gradient(vec3 u) {
    vec4 y[FIELD_BLOCKS];
    field_evaluate(u, y);
    return -field_normal(y) * (box_high - box_low);
}
