// One sample of a ray.
//
// A family defines (shaders/families/):
//   FIELD_BLOCKS                                           vec4 of a sample's values
//   void field_evaluate(vec3 u, out vec4 y[FIELD_BLOCKS])  values at u in [0, 1]
//   float field_optical(vec4 y[FIELD_BLOCKS], vec3 v)      optical thickness of the section v
//   vec3 field_normal(vec4 y[FIELD_BLOCKS])                unit, in which f grows
//   vec3 field_shade(vec4 y[FIELD_BLOCKS], vec3 d)         display colour seen along d
#include "common/view.glsl"
#include "drivers/shell_place.glsl"
#include family

// Colour, normal or depth, as the mode has it, and in .w what it lets through. closed: nothing.
vec4 sample_of(vec3 o, vec3 d, float t, float delta, bool closed) {
    Place place = place_of(o, d, t, delta);
    vec4 y[FIELD_BLOCKS];
    field_evaluate(place.u, y);
    float kept = closed ? 0.0 : exp(-field_optical(y, place.v));
    vec3 value = field_shade(y, place.d);
    if (u_mode == MODE_NORMAL) value = place_normal(place, field_normal(y));
    if (u_mode == MODE_DEPTH) value = vec3(t);
    return vec4(value, kept);
}
