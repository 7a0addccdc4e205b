// A ray, the cone of its pixel, and how it leaps over the cells in which there is no surface.
#include "common/box.glsl"
#include "common/camera.glsl"
#asset bounds
#asset volume occupancy

struct Ray {
    vec3 d;
    float t0, t1;   // inside the box, in front of the camera
    vec3 u, du;     // in the box, [0, 1]: at t = 0, and per unit of t
    vec3 per_cell;  // t from one cell to the next along each axis, with the sign of d
    float nudge;    // carries a ray over the face it has leapt to, against rounding
    float cone;     // half a pixel's width at t = 1
};

// The ray from o along the unit vector d, with the cone of half width cone at t = 1.
Ray trace_ray_from(vec3 o, vec3 d, float cone) {
    vec2 inside = seen_interval(o, d, box_low, box_high);
    vec3 size = box_high - box_low;
    Ray ray;
    ray.d = d;
    ray.t0 = max(inside.x, 0.0);
    ray.t1 = inside.y;
    ray.u = (o - box_low) / size;
    ray.du = d / size;
    vec3 cells = ray.du * vec3(occupancy_size);
    ray.per_cell = 1.0 / mix(cells, vec3(1e-12), lessThan(abs(cells), vec3(1e-12)));
    vec3 pace = abs(ray.per_cell);
    // above the rounding of t, for a camera far away
    ray.nudge = max(0.004 * min(pace.x, min(pace.y, pace.z)), 1e-6 * abs(ray.t1));
    ray.cone = cone;
    return ray;
}

// Half a pixel's width at t = 1.
float pixel_cone(vec2 pixel) {
    vec2 slope = (pixel - u_centre) / u_focal;
    return 0.5 * inversesqrt(abs(u_focal.x * u_focal.y) * (1.0 + dot(slope, slope)));
}

Ray trace_ray(vec2 pixel) {
    vec3 o, d;
    camera_ray(pixel, o, d);
    return trace_ray_from(o, d, pixel_cone(pixel));
}

vec3 trace_point(Ray ray, float t) {
    return clamp(ray.u + t * ray.du, 0.0, 1.0);
}

// The first t from the given one on that lies in a set cell; t1 or more where there is none. A cell at
// distance m of the nearest set one stands in the middle of a cube of 2 m - 1 unset ones a side: the ray goes
// to where it leaves that.
float trace_next(Ray ray, float t) {
    int gap;
    do {
        vec3 p = trace_point(ray, t) * vec3(occupancy_size);
        ivec3 cell = min(ivec3(p), occupancy_size - 1);
        gap = occupancy_distance(cell);
        vec3 face = vec3(cell) + mix(vec3(1 - gap), vec3(gap), greaterThan(ray.per_cell, vec3(0.0)));
        vec3 way = (face - p) * ray.per_cell;
        t += gap > 0 ? max(min(way.x, min(way.y, way.z)), 0.0) + ray.nudge : 0.0;
    } while (gap > 0 && t < ray.t1);
    return t;
}
