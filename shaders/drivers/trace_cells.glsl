// Sphere tracing of a bank of networks, one a cell. Its passes share this; how they work is told in
// render/drivers/trace_cells.py.
//
// Those that evaluate include the family, which defines for x in [-1, 1] in the cell of a network:
//   void cell_load(int network)                     chooses the network
//   float cell_distance(vec3 x)                     f: world units, negative inside
// and where SHADING is defined
//   vec4 cell_distance_gradient(vec3 x)             its slope by x in .xyz, f in .w
//   vec3 cell_colour(vec3 x, vec3 n, vec3 d)        display colour; unit normal and direction in the world
#define CELLS
#include "drivers/trace_ray.glsl"
#include "drivers/trace_bank.glsl"
#include "drivers/trace_search.glsl"
#include "common/view.glsl"
