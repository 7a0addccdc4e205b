// The hits of each pixel on the outer mesh: t where the ray enters, -t where it leaves, in no order. Hits
// beyond u_room are counted and not kept. Behind the counts of all pixels stands which pixels have any.
layout(std430, binding = 1) buffer shell_counts {
    uint list_groups_x, list_groups_y, list_groups_z;  // of LIST_GROUP pixels that have hits, as a dispatch
    uint list_pixels;                                  // that have hits
    uint list_counts[];
};
layout(std430, binding = 2) buffer shell_hits { float list_hits[]; };
uniform ivec2 u_pixels;  // of the picture
uniform int u_room;      // hits a pixel

int list_place(int pixel, int k) {
    return k * u_pixels.x * u_pixels.y + pixel;
}

#ifdef LIST_WRITES
void list_add(ivec2 at, float hit) {
    int pixel = at.y * u_pixels.x + at.x, k = int(atomicAdd(list_counts[pixel], 1u));
    if (k < u_room) list_hits[list_place(pixel, k)] = hit;
    if (k == 0) {
        uint slot = atomicAdd(list_pixels, 1u);
        if (slot % uint(LIST_GROUP) == 0u) atomicAdd(list_groups_x, 1u);
        list_counts[uint(u_pixels.x * u_pixels.y) + slot] = uint(pixel);
    }
}
#endif
