// One event of every path: what its ray meets first, the light from there, the light that is sampled for it,
// and the next ray. The field's answer stands in hits.
#include "common/sequence.glsl"
#include "drivers/pathtrace_stage.glsl"
#include "drivers/pathtrace_path.glsl"

const int FIELD = -2;                 // the object of the field
const int ALBEDO = 1;                 // the reading of its colour; else it is an emitter
const int DECISIONS = 4;              // pairs of numbers for each event
const float WIDE_CONE = 0.005;        // of rays that were scattered all around
const float SMOOTH = 0.03;            // below this roughness metal is a mirror
const float HIT = 1e-4, SEAM = 3e-4;  // how exact hits of the field are at least, and where its networks meet
const int FREE_BOUNCES = 3;           // before Russian roulette begins

uniform int u_bounce, u_bounces, u_neural;
uniform float u_clamp;                // 0: not
uniform sampler2D u_reflected;  // what white metal reflects by single scattering, by roughness and cosine

struct Material {
    int kind;
    float parameter;  // roughness of metal, refractive index of glass
    vec3 colour;
};

Material material_of(Meeting m, vec3 field) {
    vec4 head = objects[OBJECT * max(m.object, 0)];
    vec3 colour = objects[OBJECT * max(m.object, 0) + 1].rgb;
    if (m.object == FIELD) return Material(u_neural == ALBEDO ? DIFFUSE : EMISSION, 0.0, field);
    return Material(int(head.x), head.y, colour);
}

void add_light(inout Path path, vec3 light, float weight) {
    vec3 part = path.throughput.rgb * light * weight;
    path.radiance.rgb += u_clamp > 0.0 && u_bounce > 0 ? min(part, vec3(u_clamp)) : part;
}

// Cosine times BSDF in .rgb, density of sample_scatter in .a. Directions are in the surface's frame.
vec4 evaluate_scatter(Material m, vec3 w, vec3 v) {
    float alpha = max(m.parameter * m.parameter, 1e-4);
    vec2 single = ggx(w, v, alpha);
    // light that microfacets pass on among themselves: Turquin 2019
    float rows = float(textureSize(u_reflected, 0).y);
    float part = textureLod(u_reflected, vec2(w.z, (m.parameter * (rows - 1.0) + 0.5) / rows), 0.0).r;
    vec3 metal = metal_fresnel(m.colour, dot(w, normalize(w + v))) * single.x;
    metal *= 1.0 + m.colour * (1.0 - part) / part;
    float cosine = max(v.z, 0.0) / PI;
    return m.kind == METAL ? vec4(metal, single.y) : vec4(m.colour * cosine, cosine);
}

// The next direction. colour: cosine times BSDF over density; density -1 where there is only the one choice.
vec3 sample_scatter(
    Material m, vec3 w, bool inside, vec2 u, float choice, out vec3 colour, out float density
) {
    float alpha = max(m.parameter * m.parameter, 1e-4);
    bool smooth_metal = m.kind == METAL && m.parameter < SMOOTH;
    vec3 v = sample_cosine(u);
    if (m.kind == METAL) v = reflect(-w, smooth_metal ? vec3(0.0, 0.0, 1.0) : sample_ggx(u, w, alpha));
    vec4 value = evaluate_scatter(m, w, v);
    colour = v.z > 0.0 ? value.rgb / max(value.a, 1e-12) : vec3(0.0);
    density = value.a;
    if (smooth_metal) {
        colour = metal_fresnel(m.colour, w.z);
        density = -1.0;
    }
    if (m.kind == GLASS) {
        float eta = inside ? 1.0 / m.parameter : m.parameter, refracted;
        bool mirrored = choice < fresnel(w.z, eta, refracted);
        v = mirrored ? vec3(-w.xy, w.z) : vec3(-w.xy / eta, -refracted);
        colour = mirrored ? vec3(1.0) : m.colour;
        density = -1.0;
    }
    return v;
}

// A ray from the light that was sampled, and what it brings.
void connect(int i, inout Path path, Material m, mat3 frame, vec3 w, vec3 o, vec3 numbers) {
    vec3 d;
    float t, density;
    vec3 radiance = stage_light(o, numbers.z, numbers.xy, d, t, density);
    vec4 value = evaluate_scatter(m, w, d * frame);
    float weight = power_heuristic(density, value.a) / max(density, 1e-12);
    vec3 part = path.throughput.rgb * value.rgb * radiance * weight;
    path.pending.rgb = u_clamp > 0.0 ? min(part, vec3(u_clamp)) : part;
    bool worth = density > 0.0 && max(part.r, max(part.g, part.b)) > 0.0;
    if (!worth) return;
    shadows[i] = RayRecord(vec4(o, WIDE_CONE), vec4(d, t));
    append(WAITING, i);
}

void main() {
    int i = taken(u_bounce & 1, dispatch_id());
    if (i < 0) return;
    RayRecord ray = rays[i];
    rays[i].direction.w = 0.0;
    vec3 o = ray.origin.xyz, d = ray.direction.xyz;
    Path path = paths[i];
    HitRecord field = hits[i];
    path.radiance.w += field.place.w;

    Meeting met = stage_hit(o, d, field.place.x >= 0.0 ? field.place.x : FAR);
    if (met.object < 0 && field.place.x >= 0.0) met = Meeting(field.place.x, FIELD, field.normal.xyz);
    Material m = material_of(met, clamp(linear_from_srgb(field.colour.rgb), 0.0, 1.0));
    bool nothing = met.object == -1;
    if (nothing) m = Material(EMISSION, 0.0, environment_radiance(d));
    bool inside = dot(met.n, d) > 0.0;
    vec3 n = inside ? -met.n : met.n;
    if (u_bounce == 0) {
        path.first = nothing ? vec4(0.0) : vec4(n, met.t);
        path.albedo = vec4(m.kind == GLASS ? vec3(1.0) : m.colour, nothing ? 0.0 : 1.0);
    }
    if (m.kind == EMISSION) {
        float density = nothing ? environment_density(d) : 0.0;
        if (met.object >= 0) density = light_density(met.object, o, d, met.t, met.n);
        float last = path.throughput.a;
        add_light(path, m.colour, last < 0.0 ? 1.0 : power_heuristic(last, density));
    }
    if (m.kind == EMISSION || u_bounce >= u_bounces) {
        paths[i] = path;
        return;
    }

    int decision = 1 + DECISIONS * u_bounce;
    vec2 u = sequence(u_sample, stream_of(i, decision));
    vec2 choices = sequence(u_sample, stream_of(i, decision + 1));
    vec2 place = sequence(u_sample, stream_of(i, decision + 2));
    mat3 frame = frame_of(n);
    vec3 w = -d * frame;
    w.z = max(w.z, 1e-4);
    float epsilon = 1e-4 * (1.0 + met.t);
    if (met.object == FIELD) epsilon = 2.0 * max(HIT, 0.25 * ray.origin.w * met.t) + SEAM;
    vec3 at = o + met.t * d;
    bool chosen = m.kind == DIFFUSE || (m.kind == METAL && m.parameter >= SMOOTH);
    if (chosen && stage_choices() > 0) {
        connect(i, path, m, frame, w, at + epsilon * n, vec3(place, choices.x));
    }

    vec3 colour;
    float density;
    vec3 v = sample_scatter(m, w, inside, u, choices.x, colour, density);
    path.throughput = vec4(path.throughput.rgb * colour, density);
    float survival = min(max(path.throughput.r, max(path.throughput.g, path.throughput.b)), 1.0);
    if (u_bounce < FREE_BOUNCES && survival > 0.0) survival = 1.0;
    path.throughput.rgb /= max(survival, 1e-6);
    paths[i] = path;
    if (choices.y >= survival) return;
    append((u_bounce + 1) & 1, i);
    float cone = m.kind == DIFFUSE ? WIDE_CONE : ray.origin.w;
    rays[i].origin = vec4(at + (v.z > 0.0 ? epsilon : -epsilon) * n, cone);
    rays[i].direction = vec4(normalize(frame * v), 1e30);
}
