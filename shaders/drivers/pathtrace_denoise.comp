// One step of an edge-avoiding a-trous filter (Dammertz et al. 2010) on light without its albedo: five by
// five pixels u_step apart, those that differ in normal, lie off the surface or differ in brightness by more
// than the noise count less. Step 0 takes light and variance from the sums. What emits is its own albedo, so
// that it stays as it is.
#include "common/camera.glsl"
#include "common/colour.glsl"
#include "common/dispatch.glsl"
#include "drivers/pathtrace_sums.glsl"

layout(std430, binding = 0) readonly buffer path_sums { Sum sums[]; };
layout(std430, binding = 1) readonly buffer light_in { vec4 before[]; };  // and the variance of luminance
layout(std430, binding = 2) writeonly buffer light_out { vec4 after[]; };

const float BINOMIAL[3] = float[](0.375, 0.25, 0.0625);
const float ALIKE = 64.0;       // power of the cosine between normals
const float OFF_SURFACE = 1.0;  // in pixels, at which a weight falls to 1 / e
const float DEVIATIONS = 3.0;   // by which noise makes pixels differ

uniform int u_width, u_count, u_step;
uniform float u_samples;

vec3 position_of(int i, Sum sum) {
    vec3 o, d;
    camera_ray(vec2(i % u_width, i / u_width) + 0.5, o, d);
    return o + sum.first.w / max(sum.albedo.w, 1.0) * d;
}

vec3 direction_of(vec3 v) {
    return v * inversesqrt(max(dot(v, v), 1e-20));
}

vec3 light_of(Sum sum) {
    return sum.radiance.rgb / u_samples / sums_albedo(sum.albedo.rgb / u_samples);
}

// The pixel k of the five by five around one, -1 beyond the picture.
int neighbour(int i, int k, int pace) {
    ivec2 at = ivec2(i % u_width, i / u_width) + pace * (ivec2(k % 5, k / 5) - 2);
    bool inside = all(greaterThanEqual(at, ivec2(0))) && at.x < u_width && at.y < u_count / u_width;
    return inside ? at.y * u_width + at.x : -1;
}

// How far what pixel j shows goes on from pixel i, pace apart: 1 on the same plane, 0 around a corner.
float goes_on(int i, int j, int pace) {
    Sum here = sums[i], there = sums[j];
    vec3 n = direction_of(here.first.xyz), p = position_of(i, here);
    float pixel = length(p - u_position) / min(u_focal.x, u_focal.y) * float(pace);
    float apart = abs(dot(n, position_of(j, there) - p)) / (OFF_SURFACE * pixel);
    float alike = pow(max(dot(n, direction_of(there.first.xyz)), 0.0), ALIKE) * exp(-apart);
    bool both = here.albedo.w > 0.0 && there.albedo.w > 0.0;
    return i == j ? 1.0 : both ? alike : here.albedo.w == there.albedo.w ? 1.0 : 0.0;
}

// Light and its variance: the mean of that within pixels, of a few around; that between them where each has
// one sample. A pixel that outshines all others around it that it goes on from owes that to chance, and is
// brought down to them.
vec4 start(int i) {
    vec3 total = vec3(0.0);  // luminance, its square, that of means
    float weights = 0.0, brightest = 0.0;
    for (int k = 0; k < 25 * min(u_count, 1); ++k) {  // a bound that compilers do not unroll
        int found = neighbour(i, k, 1), j = max(found, 0);
        float bright = luminance(light_of(sums[j])), weight = found < 0 ? 0.0 : goes_on(i, j, 1);
        total += weight * vec3(bright, sums[j].square.x / u_samples, bright * bright);
        weights += weight;
        brightest = max(brightest, j == i || weight < 0.1 ? 0.0 : bright);
    }
    total /= weights;
    vec3 light = light_of(sums[i]);
    float bright = luminance(light);
    light *= brightest > 0.0 ? min(1.0, brightest / max(bright, 1e-12)) : 1.0;
    float within = (total.y - total.z) / max(u_samples - 1.0, 1.0), between = total.y - total.x * total.x;
    return vec4(light, max(u_samples > 1.0 ? within : between, 0.0));
}

vec4 blend(int i) {
    float bright = luminance(before[i].rgb), weights = 0.0;
    vec4 total = vec4(0.0);
    for (int k = 0; k < 25 * min(u_step, 1); ++k) {
        int found = neighbour(i, k, u_step), j = max(found, 0);
        float differs = bright - luminance(before[j].rgb);
        float noise = DEVIATIONS * DEVIATIONS * 0.5 * (before[i].a + before[j].a) + 1e-10;
        ivec2 offset = abs(ivec2(k % 5, k / 5) - 2);
        float weight = BINOMIAL[offset.x] * BINOMIAL[offset.y] * exp(-differs * differs / noise);
        weight *= found < 0 ? 0.0 : goes_on(i, j, u_step);
        total += weight * vec4(before[j].rgb, weight * before[j].a);
        weights += weight;
    }
    return total / vec4(vec3(weights), weights * weights);
}

void main() {
    int i = int(dispatch_id());
    if (i >= u_count) return;
    if (u_step == 0) {
        after[i] = start(i);
    } else {
        after[i] = blend(i);
    }
}
