// Which of u_count things an invocation is for.
#include "common/dispatch.glsl"
uniform int u_count;
