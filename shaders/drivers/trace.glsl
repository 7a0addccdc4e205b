// Sphere tracing of a signed distance field, with anti-aliased edges. Both hosts share it: trace.comp and
// trace.frag. How it works is told in render/drivers/trace.py.
//
// A family defines (shaders/families/), for u in [0, 1]:
//   float field_distance(vec3 u)                    f: world units, negative inside
//   vec4 field_distance_gradient(vec3 u)            its slope by u in .xyz, f in .w
//   vec3 field_colour(vec3 u, vec3 n, vec3 d)       display colour; unit normal and direction in the world
#include "drivers/trace_ray.glsl"
#include "drivers/trace_search.glsl"
#include family
#include "drivers/trace_layers.glsl"
