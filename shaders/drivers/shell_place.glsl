// From a ray in the world to where the field is asked. With DEFORMED, a cage leads back there, and all of a
// sample is as it was at rest: its place, the section that it stands for and the direction.
#asset bounds
#asset constant int contracted
#include "common/contraction.glsl"
#ifdef DEFORMED
#include "drivers/shell_pose.glsl"
#endif

// What a sample of the field is asked for.
struct Place {
    vec3 u;  // [0, 1] in the box
    vec3 v;  // the section that it stands for, in the units of f
    vec3 d;  // the unit direction along which it is seen
#ifdef DEFORMED
    mat3 turned;  // leads normals back to the world, but for their length
#endif
};

// The straight line between two places of a ray.
vec3 place_chord(vec3 o, vec3 d, vec2 ends) {
    return contracted == 1 ? contract(o + ends.y * d) - contract(o + ends.x * d) : (ends.y - ends.x) * d;
}

vec3 place_u(vec3 x) {
    if (contracted == 1) x = contract(x);
    return clamp((x - box_low) / (box_high - box_low), 0.0, 1.0);
}

Place place_of(vec3 o, vec3 d, float t, float delta) {
#ifdef DEFORMED
    vec3 x = o + t * d;
    mat3 turned = pose_rest(x);
    vec3 along = d * turned;
    vec3 v = place_chord(x, along, vec2(-0.5 * delta, 0.5 * delta));
    return Place(place_u(x), v, along / max(length(along), 1e-30), turned);
#else
    return Place(place_u(o + t * d), place_chord(o, d, vec2(t - 0.5 * delta, t + 0.5 * delta)), d);
#endif
}

// A unit normal of the field, as it is in the world.
vec3 place_normal(Place place, vec3 n) {
#ifdef DEFORMED
    n = place.turned * n;
    n /= max(length(n), 1e-30);
#endif
    return n;
}
