// The hits of each pixel on the outer mesh: t where the ray enters, -t where it leaves, in no order. Hits beyond
// u_room are counted and not kept. What a later pass wants to know of a hit goes to an array beside list_hits,
// at the same place.
layout(std430, binding = 1) buffer shell_counts { uint list_counts[]; };
layout(std430, binding = 2) buffer shell_hits { float list_hits[]; };
uniform ivec2 u_pixels;  // of the picture
uniform int u_room;      // hits a pixel

int list_pixel(ivec2 pixel) {
    return pixel.y * u_pixels.x + pixel.x;
}

int list_place(int pixel, int k) {
    return k * u_pixels.x * u_pixels.y + pixel;
}

#ifdef LIST_WRITES
void list_add(ivec2 at, float hit) {
    int pixel = list_pixel(at);
    int k = int(atomicAdd(list_counts[pixel], 1u));
    if (k < u_room) list_hits[list_place(pixel, k)] = hit;
}
#endif
