// After the meshes are drawn: fills the pixels of rays that meet nothing and gives the others slots in bins.
#define BVH 0
#include "common/camera.glsl"
#include "drivers/shell_hits.glsl"
#include "drivers/shell_work.glsl"

layout(local_size_x = 64) in;
layout(rgba32f, binding = 0) writeonly uniform image2D i_picture;
layout(r32f, binding = 1) writeonly uniform image2D i_cost;
uniform sampler2D u_solid;
uniform vec4 u_nothing;

void main() {
    // eight invocations in a row, which software runs as one vector, are a block of 4 x 2 pixels
    int i = int(gl_LocalInvocationIndex);
    ivec2 inside = ivec2((i & 3) | ((i >> 1) & 4), ((i >> 2) & 1) | ((i >> 3) & 6));
    ivec2 at = 8 * ivec2(gl_WorkGroupID.xy) + inside;
    if (at.x >= u_pixels.x || at.y >= u_pixels.y) return;
    int pixel = list_pixel(at), bin = OVERFLOW;
    int count = int(list_counts[pixel]);
    if (count <= u_room) {
        vec3 o, d;
        camera_ray(vec2(at) + 0.5, o, d);
        float solid = texelFetch(u_solid, at, 0).x, samples = 0.0;
        Walk walk = walk_start();
        if (count == 0) walk.t = NONE;
        vec2 ends;
        bool closed;
        while (walk.t < NONE) {
            if (interval_next(walk, pixel, o, d, solid, ends, closed)) samples += interval_samples(o, d, ends);
        }
        if (walk.broken > 0.0) atomicAdd(work_broken.x, 1u);
        bin = samples > 0.0 ? work_bin(samples) : -1;
    }
    if (bin < 0) {
        imageStore(i_picture, at, u_nothing);
        imageStore(i_cost, at, vec4(0.0));
        work_pixels[pixel] = NO_SLOT;
        return;
    }
    uint slot = atomicAdd(work_bins[bin].w, 1u);
    if ((slot & 63u) == 0u) atomicAdd(work_bins[bin].x, 1u);
    work_pixels[pixel] = uint(bin) << 28u | slot;
}
