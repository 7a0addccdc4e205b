// The cells of a bank of networks, along a ray. Its numpy twin is in render/sphere_tracing.py.
#asset networks cells

const int OUTSIDE = -1, INSIDE = -2;                      // what stands for a network in cells that have none
const int CELL_TIMES = occupancy_size.x / cells_size.x;   // cells of the occupancy to one with a network

// The cell of the network that a point in [0, 1] belongs to.
ivec3 network_cell(vec3 u) {
    return min(ivec3(u * vec3(occupancy_size)), occupancy_size - 1) / CELL_TIMES;
}

// A point in [0, 1], in its cell: [-1, 1].
vec3 cell_point(vec3 u, ivec3 cell) {
    return 2.0 * (u * vec3(cells_size) - vec3(cell)) - 1.0;
}

// The slope by a point in [0, 1] of what has this slope by one in its cell.
vec3 cell_slope(vec3 slope) {
    return slope * (2.0 * vec3(cells_size));
}

int trace_network(Ray ray, float t) {
    return cells_network(network_cell(trace_point(ray, t)));
}

int trace_gap(Ray ray, float t) {
    return occupancy_distance(min(ivec3(trace_point(ray, t) * vec3(occupancy_size)), occupancy_size - 1));
}

// From t to where the ray leaves its network's cell, and back to where it entered.
vec2 trace_ways(Ray ray, float t) {
    vec3 u = trace_point(ray, t);
    vec3 p = u * vec3(occupancy_size), first = vec3(CELL_TIMES * network_cell(u));
    vec3 a = (first - p) * ray.per_cell, b = (first + float(CELL_TIMES) - p) * ray.per_cell;
    vec3 ahead = max(a, b), back = -min(a, b);
    return max(vec2(min(ahead.x, min(ahead.y, ahead.z)), min(back.x, min(back.y, back.z))), 0.0);
}

// A trifle less, so that rounding does not carry a point into the next cell.
vec2 trace_inner_ways(Ray ray, float t) {
    return max(trace_ways(ray, t) - 0.25 * ray.nudge, 0.0);
}

// The side that a ray starts on, 0 where a network tells.
float trace_side(Ray ray) {
    int network = trace_network(ray, ray.t0);
    return network == INSIDE ? -1.0 : network == OUTSIDE ? 1.0 : 0.0;
}
