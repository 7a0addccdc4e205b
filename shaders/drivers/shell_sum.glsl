// What the samples of a ray add up to, front to back.
//
// A family defines (shaders/families/):
//   FIELD_BLOCKS                                           vec4 of a sample's values
//   void field_evaluate(vec3 u, out vec4 y[FIELD_BLOCKS])  values at u in [0, 1]
//   float field_optical(vec4 y[FIELD_BLOCKS], vec3 v)      optical thickness of the section v
//   vec3 field_normal(vec4 y[FIELD_BLOCKS])                unit, in which f grows
//   vec3 field_shade(vec4 y[FIELD_BLOCKS], vec3 d)         display colour seen along d
#include "drivers/shell_place.glsl"
#asset constant float stop
#include family

uniform int u_mode;
uniform vec3 u_background;

struct Sum {
    vec3 value;      // colour, normal or depth, as the mode has it
    float coverage;
    float T;         // transmittance
    float cost;      // samples
    float length_;   // of all intervals
};

Sum sum_start() {
    return Sum(vec3(0.0), 0.0, 1.0, 0.0, 0.0);
}

void sum_add(inout Sum sum, vec3 o, vec3 d, float t, float delta, bool closed) {
    Place place = place_of(o, d, t, delta);
    vec4 y[FIELD_BLOCKS];
    field_evaluate(place.u, y);
    float kept = closed ? 0.0 : exp(-field_optical(y, place.v));
    float w = sum.T * (1.0 - kept);
    vec3 value = field_shade(y, place.d);
    if (u_mode == MODE_NORMAL) value = place_normal(place, field_normal(y));
    if (u_mode == MODE_DEPTH) value = vec3(t);
    sum.value += w * value;
    sum.coverage += w;  // 1 - T but for rounding, which a depth of almost nothing would show
    sum.T *= kept;
    sum.cost += 1.0;
}

// Whether what lies behind would still be seen, or is asked for.
bool sum_goes_on(Sum sum) {
    return sum.T >= stop || u_mode == MODE_THICKNESS;
}

vec4 sum_picture(Sum sum) {
    vec3 picture = sum.value + sum.T * u_background;
    if (u_mode == MODE_DEPTH) picture = sum.value / max(sum.coverage, 1e-30);
    if (u_mode == MODE_NORMAL) picture = sum.value * inversesqrt(max(dot(sum.value, sum.value), 1e-30));
    if (u_mode == MODE_COST) picture = vec3(sum.cost);
    if (u_mode == MODE_THICKNESS) picture = vec3(sum.length_);
    return vec4(picture, sum.coverage);
}
