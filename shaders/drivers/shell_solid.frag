// The nearest hit on the inner mesh, by the depth test or by blending. Nothing is discarded, so that the
// test comes first.
#include "drivers/shell_face.glsl"
layout(location = 0) out float o_t;

void main() {
    bool enters;
    float t = face_hit(enters);
    o_t = t > 0.0 ? t : 1e30;
}
