// Every hit on the outer mesh, into the list of its pixel. From outside, the depth test leaves out what lies
// behind the inner mesh.
layout(early_fragment_tests) in;
#include "drivers/shell_face.glsl"
#include "drivers/shell_list.glsl"

void main() {
    bool enters;
    float t = face_hit(enters);
    if (t > 0.0) list_add(ivec2(gl_FragCoord.xy), enters ? t : -t);
}
