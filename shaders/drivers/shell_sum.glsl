// What the samples of a ray add up to, front to back.
#include "common/view.glsl"
#asset constant float stop

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

// sample_: as shell_sample.glsl tells.
void sum_add(inout Sum sum, vec4 sample_) {
    float w = sum.T * (1.0 - sample_.w);
    sum.value += w * sample_.xyz;
    sum.coverage += w;  // 1 - T but for rounding, which a depth of almost nothing would show
    sum.T *= sample_.w;
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
