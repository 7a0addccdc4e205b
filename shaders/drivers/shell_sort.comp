// Every pixel that has a slot goes to its place in the list of pixels.
#include "drivers/shell_work.glsl"

layout(local_size_x = 64) in;
uniform ivec2 u_pixels;  // of the picture

void main() {
    int pixels = u_pixels.x * u_pixels.y, pixel = int(gl_GlobalInvocationID.x);
    if (pixel >= pixels) return;
    uint place = work_pixels[pixel];
    if (place == NO_SLOT) return;
    work_pixels[work_start(int(place >> 28u), pixels) + (place & 0x0fffffffu)] = uint(pixel);
}
