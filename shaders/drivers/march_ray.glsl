// The sample lattice of a ray and how to leap over empty space on it.
//
// Sample k is at t_k = t0 + (k + 0.5) * step_size, for t_k < t1: k = 0 .. n - 1. Only samples in a set cell
// of `occupancy` count. k is kept as a float: it is exact, and takes part in float arithmetic only.
#include "common/box.glsl"
#asset bounds
#asset volume occupancy
#asset constant float step_size

struct Ray {
    vec3 d;
    float t;      // t_0
    float n;      // number of samples
    vec3 u;       // sample 0 in the box, [0, 1]
    vec3 du;      // from one sample to the next
    float leap;   // samples per cell, along the axis on which the ray passes most cells
};

Ray march_ray(vec3 o, vec3 d) {
    vec2 inside = seen_interval(o, d, box_low, box_high);
    float t0 = max(inside.x, 0.0);
    Ray ray;
    ray.d = d;
    ray.t = t0 + 0.5 * step_size;
    ray.n = ceil((inside.y - ray.t) / step_size);
    vec3 size = box_high - box_low;
    ray.u = (o + ray.t * d - box_low) / size;
    ray.du = step_size * d / size;
    vec3 cells = abs(ray.du) * vec3(occupancy_size);
    ray.leap = 0.9999 / max(cells.x, max(cells.y, cells.z));
    return ray;
}

vec3 march_point(Ray ray, float k) {
    return clamp(ray.u + k * ray.du, 0.0, 1.0);
}

// The first sample from k on that lies in a set cell; n or more where there is none. The result is that of
// testing every sample: in a cell at distance m of the nearest set one, a ray may go m - 1 cells along every
// axis and is still in an unset one. It goes a trifle less, so that rounding cannot carry it past a sample.
float march_next(Ray ray, float k) {
    int gap;
    do {
        ivec3 cell = min(ivec3(march_point(ray, k) * vec3(occupancy_size)), occupancy_size - 1);
        gap = occupancy_distance(cell);
        k += gap > 0 ? 1.0 + floor(float(gap - 1) * ray.leap) : 0.0;
    } while (gap > 0 && k < ray.n);
    return k;
}
