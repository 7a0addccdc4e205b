// Pixels by how many samples they have, so that those that are drawn side by side take equally long; the last
// bin is of pixels with more hits than their list holds. Each pixel draws a slot in its bin, and once all bins
// are counted takes its place in the list.
const int BINS = 9, OVERFLOW = 8;
const uint NO_SLOT = 0xffffffffu;
layout(std430, binding = 0) buffer shell_work {
    uvec4 work_bins[BINS];  // groups of 64 as a dispatch, pixels
    uvec4 work_broken;      // in .x: pixels whose hits came in the wrong order
    uint work_pixels[];     // of each pixel bin << 28 | slot; then the list, bin after bin
};

int work_bin(float samples) {
    return samples <= 4.0 ? int(samples) - 1 : samples <= 6.0 ? 4 : samples <= 8.0 ? 5 : samples <= 16.0 ? 6 : 7;
}

// Where in work_pixels the list of a bin begins.
uint work_start(int bin, int pixels) {
    uint start = uint(pixels);
    for (int i = 0; i < bin; ++i) start += work_bins[i].w;
    return start;
}
