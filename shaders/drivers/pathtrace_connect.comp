// Adds the light that was sampled where nothing hides it: the field's answer stands in hits.
#include "common/sequence.glsl"
#include "drivers/pathtrace_stage.glsl"
#include "drivers/pathtrace_path.glsl"

void main() {
    int i = taken(WAITING, dispatch_id());
    if (i < 0) return;
    RayRecord shadow = shadows[i];
    shadows[i].direction.w = 0.0;
    bool hidden = stage_hides(shadow.origin.xyz, shadow.direction.xyz, shadow.direction.w);
    bool seen = hits[i].place.x < 0.0 && !hidden;
    paths[i].radiance += vec4(seen ? paths[i].pending.rgb : vec3(0.0), hits[i].place.w);
}
