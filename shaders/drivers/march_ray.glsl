// The sample lattice of a ray and how to leap over empty space on it.
//
// Sample k is at s_k = s_0 + (k + 0.5) * step_size, for s_k < s_1: k = 0 .. n - 1. In a box s is the distance
// along the ray, from where it enters. In an unbounded scene, where `ball` has a radius, it is that of
// common/contraction.glsl, in units of the ball, from the near plane on; in a forward-facing one it is that
// along the ray in the cube of common/ndc.glsl. Only samples in a set cell of `occupancy` count. k is kept as a
// float: it is exact, and takes part in float arithmetic only.
#include "common/box.glsl"
#include "common/contraction.glsl"
#include "common/ndc.glsl"
#asset bounds
#asset volume occupancy
#asset constant float step_size
#asset constant vec4 ball
#asset constant float near_plane

const bool unbounded = ball.w > 0.0, in_ndc = forward == 1;
const vec3 space_low = in_ndc ? vec3(-1.0) : box_low, space_size = in_ndc ? vec3(2.0) : box_high - box_low;

struct Ray {
    vec3 d;       // in the world
    float s;      // s of sample 0
    float n;      // number of samples
    float leap;   // samples per cell, at most so few as the ray passes cells quickest
    vec3 u;       // in a box: sample 0, [0, 1]; else the origin, in units of the ball from its middle
    vec3 du;      // in a box: from one sample to the next
    float foot;   // t of the place nearest to the middle of the ball
    vec2 ahead;   // in device coordinates: depth of the origin in their frame, and of a unit of the ray
};

// In device coordinates, where on a ray from z upwards the place at distance t is.
float march_place(Ray ray, float z, float climbs, float t) {
    return (ndc_z(ray.ahead.x + t * ray.ahead.y) - z) / climbs;
}

Ray march_ray(vec3 o, vec3 d) {
    Ray ray;
    ray.d = d;
    float end;
    if (unbounded) {
        ray.u = (o - ball.xyz) / ball.w;
        ray.du = vec3(0.0);
        ray.foot = -dot(ray.u, d);
        float away = max(dot(ray.u, ray.u) - ray.foot * ray.foot, 0.0);
        vec2 seen = vec2(near_plane, LATTICE_FAR);
#ifdef CROP
        vec2 inside = box_interval(o, d, u_crop_low, u_crop_high) / ball.w;
        seen = vec2(max(seen.x, inside.x), min(seen.y, inside.y));
#endif
        ray.s = lattice_place(seen.x - ray.foot) + 0.5 * step_size;
        end = lattice_place(seen.y - ray.foot);
        vec3 cells = vec3(occupancy_size) / space_size;
        ray.leap = 0.9999 / (max(cells.x, max(cells.y, cells.z)) * sqrt(1.0 + 4.0 * away) * step_size);
    } else {
        vec3 along = d;
        vec2 inside;
        ray.foot = 0.0;
        if (in_ndc) {
            vec3 origin = in_frame(vec4(o, 1.0)), direction = in_frame(vec4(d, 0.0)), last;
            vec2 seen = vec2(0.0, 1e9);
#ifdef CROP
            vec2 cropped = box_interval(o, d, u_crop_low, u_crop_high);
            seen = vec2(max(seen.x, cropped.x), min(seen.y, cropped.y));
#endif
            ndc_ends(origin, direction, o, last);
            along = normalize(last - o);
            ray.ahead = -vec2(origin.z, direction.z);
            inside = box_interval(o, along, space_low, space_low + space_size);
            inside.x = max(inside.x, march_place(ray, o.z, along.z, seen.x));
            inside.y = min(inside.y, march_place(ray, o.z, along.z, seen.y));
            if (ray.ahead.y < SIDEWAYS * length(direction)) inside.y = -1.0;  // it does not look forward
        } else {
            inside = seen_interval(o, d, box_low, box_high);
        }
        ray.s = max(inside.x, 0.0) + 0.5 * step_size;
        end = inside.y;
        ray.u = (o + ray.s * along - space_low) / space_size;
        ray.du = step_size * along / space_size;
        vec3 cells = abs(ray.du) * vec3(occupancy_size);
        ray.leap = 0.9999 / max(cells.x, max(cells.y, cells.z));
    }
    ray.n = ceil((end - ray.s) / step_size);
    return ray;
}

// Distance of sample k along the ray: world units, or those of the ball.
float march_distance(Ray ray, float k) {
    float s = ray.s + k * step_size;
    if (in_ndc) {
        float z = space_low.z + space_size.z * (ray.u.z + k * ray.du.z);
        return (ndc_depth(z) - ray.ahead.x) / ray.ahead.y;
    }
    return unbounded ? lattice_distance(s) + ray.foot : s;
}

vec3 march_point(Ray ray, float k) {
    if (unbounded) {
        vec3 y = contract(ray.u + march_distance(ray, k) * ray.d);
        return clamp((y - space_low) / space_size, 0.0, 1.0);
    }
    return clamp(ray.u + k * ray.du, 0.0, 1.0);
}

// A slope by u at sample k as one in the world, but for its length.
vec3 march_slope(Ray ray, float k, vec3 by_u) {
    vec3 slope = by_u / space_size;
    if (in_ndc) return ndc_slope(space_low + space_size * march_point(ray, k), slope);
    return unbounded ? contract_slope(ray.u + march_distance(ray, k) * ray.d, slope) : slope;
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
