// All samples of a ray that is cast, one after the other.
#include "drivers/shell_hits.glsl"
#include "drivers/shell_sample.glsl"
#include "drivers/shell_sum.glsl"

Sum sum_of_ray(inout Walk walk, int pixel, vec3 o, vec3 d, float solid) {
    Sum sum = sum_start();
    vec2 ends;
    bool closed, goes_on = interval_next(walk, pixel, o, d, solid, ends, closed);
    if (goes_on) {
        float i = 0.0, n = interval_samples(o, d, ends);
        do {
            float delta = (ends.y - ends.x) / n;
            sum_add(sum, sample_of(o, d, ends.x + (i + 0.5) * delta, delta, closed && i == n - 1.0));
            i += 1.0;
            goes_on = sum_goes_on(sum);
            if (goes_on && i == n) {
                sum.length_ += ends.y - ends.x;
                goes_on = interval_next(walk, pixel, o, d, solid, ends, closed);
                n = interval_samples(o, d, ends);
                i = 0.0;
            }
        } while (goes_on);
    }
    return sum;
}
