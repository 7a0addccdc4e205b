// The nearest hit on the inner mesh, which the depth test finds.
#include "drivers/shell_face.glsl"
layout(location = 0) out float o_t;

void main() {
    bool enters;
    o_t = face_hit(enters);
    if (o_t == 0.0) discard;
}
