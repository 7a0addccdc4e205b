// What the pass that walks along the hits leaves to those after it: all samples of all rays side by side, so
// that no lane idles while they are evaluated, and the rays that they belong to.
layout(std430, binding = 0) buffer shell_work {
    uint work_count;     // samples, with those that found no room
    uint work_rays;      // that have samples
    uint work_overflow;  // pixels whose rays are to be cast
    uint work_broken;    // pixels whose hits came in the wrong order
    uvec4 work_list[];   // rays: pixel, first sample, samples, bits of the length within the shell; and from
                         // the end backwards pixels of rays to be cast
};
// First t, the length that it stands for, pixel, 1 if closed; once evaluated what shell_sample.glsl tells.
layout(std430, binding = 3) buffer shell_samples { vec4 work_samples[]; };
