// Triangles in a complete binary tree of boxes, root 1, children of k at 2 k and 2 k + 1: no stack is needed,
// since what follows a subtree is its next number without trailing zeros. render/bvh.py builds it,
// render/stage_tables.py lays it out: for each node its two corners, then for each triangle a corner (and
// what it belongs to) and two edges from there. The leaves, half of all nodes, are the last ones, with
// BVH_LEAF triangles each. Node 0 is none: its first number tells how many leaves there are, a power of two,
// or 0 for an empty tree.
#include "common/shapes.glsl"
const int BVH_LEAF = 4;
layout(std430, binding = 5) readonly buffer bvh_tree { vec4 bvh_words[]; };

int bvh_leaves() { return int(bvh_words[0].x); }
vec4 bvh_box(int corner) { return bvh_words[corner]; }
vec4 bvh_triangle(int part) { return bvh_words[4 * bvh_leaves() + part]; }

// The triangle that is met first beyond `after` and before t, -1 if none; t becomes its place. owner: of what
// belongs to that only, or below 0 of all. any: the first found will do.
int bvh_hit_beyond(vec3 o, vec3 d, float after, float owner, inout float t, bool any_hit) {
    vec3 inverse = 1.0 / mix(d, vec3(1e-12), lessThan(abs(d), vec3(1e-12)));
    int found = -1, leaves = bvh_leaves(), node = min(leaves, 1);
    while (node > 0) {
        vec3 a = (bvh_box(2 * node).xyz - o) * inverse, b = (bvh_box(2 * node + 1).xyz - o) * inverse;
        vec3 low = min(a, b), high = max(a, b);
        float enter = max(max(low.x, low.y), max(low.z, 0.0));
        float leave = min(min(high.x, high.y), min(high.z, t));
        // boxes of flat meshes have no thickness, and rounding must not hide what lies in them
        bool met = enter <= leave * 1.00001;
        bool leaf = met && node >= leaves;
        int first = leaf ? (node - leaves) * BVH_LEAF : 0, end = leaf ? first + BVH_LEAF : 0;
        for (int k = first; k < end; ++k) {
            vec4 corner = bvh_triangle(3 * k);
            vec3 edge = bvh_triangle(3 * k + 1).xyz;
            float at = triangle_hit(o, d, corner.xyz, edge, bvh_triangle(3 * k + 2).xyz);
            if (at < t && at > after && (owner < 0.0 || corner.w == owner)) {
                t = at;
                found = k;
            }
        }
        if (met && !leaf) {
            node *= 2;
        } else {
            node += 1;
            node >>= findLSB(node);
            node = node == 1 || (any_hit && found >= 0) ? 0 : node;
        }
    }
    return found;
}

int bvh_hit(vec3 o, vec3 d, inout float t, bool any_hit) {
    return bvh_hit_beyond(o, d, 0.0, -1.0, t, any_hit);
}
