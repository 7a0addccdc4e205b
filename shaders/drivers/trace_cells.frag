// Fragment host of the driver trace_cells: everything in one pass, each pixel with networks of its own.
#define SHADING
#include "drivers/trace_cells.glsl"
#include family

vec3 enter_cell(vec3 u) {
    ivec3 cell = network_cell(u);
    cell_load(cells_network(cell));
    return cell_point(u, cell);
}

float field_distance(vec3 u) {
    return cell_distance(enter_cell(u));
}

vec4 field_distance_gradient(vec3 u) {
    vec4 slope = cell_distance_gradient(enter_cell(u));
    return vec4(cell_slope(slope.xyz), slope.w);
}

vec3 field_colour(vec3 u, vec3 n, vec3 d) {
    return cell_colour(enter_cell(u), n, d);
}

#include "drivers/trace_layers.glsl"

layout(location = 0) out vec4 o_picture;
layout(location = 1) out float o_cost;

void main() {
    Ray ray = trace_ray(gl_FragCoord.xy);
    float t = trace_next(ray, ray.t0);
    o_cost = 0.0;
    o_picture = trace_nothing();
    if (t < ray.t1) o_picture = trace(ray, t, o_cost);
}
