// The way back from the deformed world to where the field was learnt: the twin of `locate` in render/cage.py.
//
// A texture holds a lattice over the cage, four cells a texel: a tetrahedron near by; then seven texels for
// each tetrahedron: three rows of the affine map to the weights of its last three corners, three of the map
// to where things were at rest, and the tetrahedra beyond its faces. render/shell_pose.py lays it out.
uniform highp usampler2D u_pose;
uniform vec3 u_pose_low;
uniform vec3 u_pose_size;
uniform int u_pose_steps;  // of a walk at most; were it a constant, the loop would be unrolled

uvec4 pose_texel(int i) {
    return texelFetch(u_pose, ivec2(i & 2047, i >> 11), 0);
}

vec4 pose_row(int tetrahedron, int row) {
    return uintBitsToFloat(pose_texel(POSE_FIRST + 7 * tetrahedron + row));
}

// By a walk to the neighbour beyond the face for which the weight is the most negative.
int pose_locate(vec3 x) {
    vec3 part = clamp(float(POSE_HINTS) * (x - u_pose_low) / u_pose_size, 0.0, float(POSE_HINTS) - 1.0);
    ivec3 cell = ivec3(part);
    int i = (cell.x * POSE_HINTS + cell.y) * POSE_HINTS + cell.z;
    int at = int(pose_texel(i >> 2)[i & 3]), steps = 0;
    bool goes;
    do {
        vec3 last = vec3(
            dot(pose_row(at, 0), vec4(x, 1.0)),
            dot(pose_row(at, 1), vec4(x, 1.0)),
            dot(pose_row(at, 2), vec4(x, 1.0))
        );
        vec4 weights = vec4(1.0 - last.x - last.y - last.z, last);
        ivec4 beyond = ivec4(pose_texel(POSE_FIRST + 7 * at + 6));
        float least = -POSE_EDGE;
        int next = -1;
        for (int k = 0; k < 4; ++k) {
            bool further = beyond[k] >= 0 && weights[k] < least;
            least = further ? weights[k] : least;
            next = further ? beyond[k] : next;
        }
        goes = next >= 0 && steps < u_pose_steps;
        at = goes ? next : at;
        ++steps;
    } while (goes);
    return at;
}

// x becomes where it was at rest. A direction d was d * result there; a normal n from there is result * n
// here, but for its length.
mat3 pose_rest(inout vec3 x) {
    int at = pose_locate(x);
    vec4 a = pose_row(at, 3), b = pose_row(at, 4), c = pose_row(at, 5);
    x = vec3(dot(a, vec4(x, 1.0)), dot(b, vec4(x, 1.0)), dot(c, vec4(x, 1.0)));
    return mat3(a.xyz, b.xyz, c.xyz);
}
