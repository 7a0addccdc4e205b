// From a ray in the world to where the field is asked: the one place where what bends space belongs.
#asset bounds
#asset constant int contracted

// What a sample of the field is asked for.
struct Place {
    vec3 u;  // [0, 1] in the box
    vec3 v;  // the section that it stands for, in the units of f
    vec3 d;  // the unit direction along which it is seen
};

// All of space into the ball of radius 2, as in render/intervals.py.
vec3 contract(vec3 x) {
    float norm = max(length(x), 1.0);
    return (2.0 - 1.0 / norm) / norm * x;
}

// The straight line between two places of a ray.
vec3 place_chord(vec3 o, vec3 d, vec2 ends) {
    return contracted == 1 ? contract(o + ends.y * d) - contract(o + ends.x * d) : (ends.y - ends.x) * d;
}

Place place_of(vec3 o, vec3 d, float t, float delta) {
    vec3 x = o + t * d;
    if (contracted == 1) x = contract(x);
    vec3 u = clamp((x - box_low) / (box_high - box_low), 0.0, 1.0);
    return Place(u, place_chord(o, d, vec2(t - 0.5 * delta, t + 0.5 * delta)), d);
}
