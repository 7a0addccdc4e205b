// Last pass of a sample: adds the path of each pixel to its sums.
#include "common/sequence.glsl"
#include "common/colour.glsl"
#include "drivers/pathtrace_path.glsl"
#include "drivers/pathtrace_sums.glsl"

layout(std430, binding = 4) buffer path_sums { Sum sums[]; };

void main() {
    int i = int(dispatch_id());
    if (i >= u_count) return;
    Path path = paths[i];
    Sum sum = sums[i];
    bool first = u_sample == 0u;
    sums[i].radiance = path.radiance + (first ? vec4(0.0) : sum.radiance);
    sums[i].first = path.first + (first ? vec4(0.0) : sum.first);
    float bright = luminance(path.radiance.rgb / sums_albedo(path.albedo.rgb));
    sums[i].square.x = bright * bright + (first ? 0.0 : sum.square.x);
    sums[i].albedo = path.albedo + (first ? vec4(0.0) : sum.albedo);
}
