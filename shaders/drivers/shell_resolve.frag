// Fragment host: the states become the picture.
#include "drivers/shell_sum.glsl"
uniform highp sampler2D u_sums;   // value, coverage
uniform highp sampler2D u_costs;  // T, cost, length, broken
layout(location = 0) out vec4 o_picture;
layout(location = 1) out float o_cost;

void main() {
    ivec2 at = ivec2(gl_FragCoord.xy);
    vec4 sums = texelFetch(u_sums, at, 0), costs = texelFetch(u_costs, at, 0);
    Sum sum = Sum(sums.xyz, sums.w, costs.x, costs.y, costs.z);
    o_picture = sum_picture(sum);
    o_cost = sum.cost;
}
