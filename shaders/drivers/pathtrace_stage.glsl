// What else stands in the scene: shapes, triangles, lights and the environment, as
// render/stage_tables.py lays them out. An object is OBJECT vec4s: (material, its parameter, whether it
// is sampled as a light, unused), (colour, unused), then the shape's numbers. Objects come in the order of
// u_ends, which tells where each kind of shape ends.
#include "common/shapes.glsl"
#include "common/bvh.glsl"
#include "common/scatter.glsl"
#include "common/colour.glsl"

const int OBJECT = 6;
const int DIFFUSE = 0, METAL = 1, GLASS = 2, EMISSION = 3;

layout(std430, binding = 4) readonly buffer stage_objects { vec4 objects[]; };
layout(std430, binding = 6) readonly buffer stage_environment { float cumulative[]; };

uniform ivec4 u_ends;             // of spheres, planes, boxes, rectangles
uniform int u_objects, u_lights;  // after all objects the number of each light follows, a vec4 each
uniform vec3 u_top, u_bottom;     // radiance of the environment above and below, where it has no picture
uniform mat3 u_environment_from_world;
uniform ivec2 u_picture;          // width and height of the environment's picture, 0 where there is none
uniform sampler2D u_environment;  // its radiance, and in .a the density of its texels over that of even light

struct Meeting {
    float t;
    int object;  // -1: none
    vec3 n;      // unit, out of the shape
};

mat3 box_axes(int k) {
    return mat3(objects[k + 3].xyz, objects[k + 4].xyz, objects[k + 5].xyz);
}

void meet(inout Meeting m, float t, int object, vec3 n) {
    if (t < m.t) m = Meeting(t, object, n);
}

// What a ray meets first before t.
Meeting stage_hit(vec3 o, vec3 d, float t) {
    Meeting m = Meeting(t, -1, vec3(0.0));
    int i = 0;
    vec3 n;
    for (; i < u_ends.x; ++i) {
        vec4 sphere = objects[OBJECT * i + 2];
        float at = sphere_hit(o, d, sphere.xyz, sphere.w);
        meet(m, at, i, (o + min(at, 1e6) * d - sphere.xyz) / sphere.w);
    }
    for (; i < u_ends.y; ++i) {
        vec4 plane = objects[OBJECT * i + 2];
        meet(m, plane_hit(o, d, plane.xyz, plane.w), i, plane.xyz);
    }
    for (; i < u_ends.z; ++i) {
        int k = OBJECT * i;
        vec3 half_size = vec3(objects[k + 2].w, objects[k + 3].w, objects[k + 4].w);
        float at = box_hit(o, d, objects[k + 2].xyz, box_axes(k), half_size, n);
        meet(m, at, i, n);
    }
    for (; i < u_ends.w; ++i) {
        int k = OBJECT * i;
        float at = rectangle_hit(o, d, objects[k + 2].xyz, objects[k + 3].xyz, objects[k + 4].xyz, n);
        meet(m, at, i, n);
    }
    float at = m.t;
    int k = bvh_hit(o, d, at, false);
    if (k >= 0) {
        n = normalize(cross(bvh_triangle(3 * k + 1).xyz, bvh_triangle(3 * k + 2).xyz));
        m = Meeting(at, int(bvh_triangle(3 * k).w), n);
    }
    m.n = normalize(m.object >= 0 ? m.n : d);
    return m;
}

// Whether a ray meets anything before t.
bool stage_hides(vec3 o, vec3 d, float t) {
    int i = 0;
    vec3 n;
    float first = FAR;
    for (; i < u_ends.x; ++i) {
        vec4 sphere = objects[OBJECT * i + 2];
        first = min(first, sphere_hit(o, d, sphere.xyz, sphere.w));
    }
    for (; i < u_ends.y; ++i) {
        vec4 plane = objects[OBJECT * i + 2];
        first = min(first, plane_hit(o, d, plane.xyz, plane.w));
    }
    for (; i < u_ends.z; ++i) {
        int k = OBJECT * i;
        vec3 half_size = vec3(objects[k + 2].w, objects[k + 3].w, objects[k + 4].w);
        first = min(first, box_hit(o, d, objects[k + 2].xyz, box_axes(k), half_size, n));
    }
    for (; i < u_ends.w; ++i) {
        int k = OBJECT * i;
        vec3 corner = objects[k + 2].xyz;
        first = min(first, rectangle_hit(o, d, corner, objects[k + 3].xyz, objects[k + 4].xyz, n));
    }
    float at = t;
    return first < t || bvh_hit(o, d, at, true) >= 0;
}

// The environment. Its picture is equirectangular: the top row is straight up.
vec2 environment_place(vec3 d) {
    vec3 v = u_environment_from_world * d;
    return vec2(0.5 + atan(v.y, v.x) / (2.0 * PI), acos(clamp(v.z, -1.0, 1.0)) / PI);
}

vec3 environment_radiance(vec3 d) {
    float up = (u_environment_from_world * d).z;
    vec3 even = mix(u_bottom, u_top, 0.5 + 0.5 * up);
    return u_picture.x > 0 ? textureLod(u_environment, environment_place(d), 0.0).rgb : even;
}

// Lights are chosen evenly: the listed ones, and the environment where it has a picture. One without is best
// found by the scattered rays themselves.
int stage_choices() {
    return u_lights + (u_picture.x > 0 ? 1 : 0);
}

// By solid angle, with which stage_light leads into a direction of the environment.
float environment_density(vec3 d) {
    vec2 at = environment_place(d);
    ivec2 texel = min(ivec2(at * vec2(u_picture)), u_picture - 1);
    float over_even = texelFetch(u_environment, texel, 0).a;
    float flat_part = sin(PI * at.y) * 2.0 * PI * PI;
    return u_picture.x > 0 ? over_even / (max(flat_part, 1e-6) * float(stage_choices())) : 0.0;
}

// Likewise, to a point at distance t on an object with normal n; 0 where it is not sampled from o.
float light_density(int object, vec3 o, vec3 d, float t, vec3 n) {
    int k = OBJECT * object;
    if (objects[k].z == 0.0) return 0.0;
    float density;
    if (object < u_ends.x) {
        vec3 to = objects[k + 2].xyz - o;
        float part = objects[k + 2].w * objects[k + 2].w / dot(to, to);  // sine squared of the cone's angle
        density = part < 1.0 ? 1.0 / (2.0 * PI * (part / (1.0 + sqrt(1.0 - part)))) : 0.0;
    } else {
        float area = length(cross(objects[k + 3].xyz, objects[k + 4].xyz));
        density = t * t / max(abs(dot(n, d)) * area, 1e-12);
    }
    return density / float(stage_choices());
}

// First entry of cumulative from start on, count of them, that is above x.
int search(int start, int count, float x) {
    int low = 0, high = count - 1;
    while (low < high) {
        int middle = (low + high) >> 1;
        bool below = cumulative[start + middle] <= x;
        low = below ? middle + 1 : low;
        high = below ? high : middle;
    }
    return low;
}

vec3 environment_sample(vec2 u) {
    int w = u_picture.x, h = u_picture.y;
    int row = search(0, h, u.y);
    float below = row > 0 ? cumulative[row - 1] : 0.0;
    float y = (u.y - below) / max(cumulative[row] - below, 1e-9);
    int start = h + row * w, column = search(start, w, u.x);
    below = column > 0 ? cumulative[start + column - 1] : 0.0;
    float x = (u.x - below) / max(cumulative[start + column] - below, 1e-9);
    vec2 at = (vec2(column, row) + clamp(vec2(x, y), 0.0, 0.9999)) / vec2(w, h);
    float theta = PI * at.y, phi = 2.0 * PI * (at.x - 0.5);
    return vec3(sin(theta) * vec2(cos(phi), sin(phi)), cos(theta)) * u_environment_from_world;
}

// Light that may reach o: its direction, how far it is, radiance, and the density by solid angle (0: no
// light).
vec3 stage_light(vec3 o, float choice, vec2 u, out vec3 d, out float t, out float density) {
    int which = min(int(choice * float(stage_choices())), stage_choices() - 1);
    vec3 radiance;
    if (which >= u_lights) {
        d = environment_sample(u);
        t = FAR;
        density = environment_density(d);
        radiance = environment_radiance(d);
    } else {
        int object = int(objects[OBJECT * u_objects + max(which, 0)].x);
        int k = OBJECT * object;
        vec3 n = vec3(0.0);
        if (object < u_ends.x) {
            vec3 to = objects[k + 2].xyz - o;
            float part = min(objects[k + 2].w * objects[k + 2].w / dot(to, to), 1.0);
            d = frame_of(normalize(to)) * sample_cone(u, part / (1.0 + sqrt(1.0 - part)));
            t = sphere_hit(o, d, objects[k + 2].xyz, objects[k + 2].w);
            // at the cone's rim rounding may miss the sphere
            t = t < FAR ? t : dot(to, d);
        } else {
            vec3 a = objects[k + 3].xyz, b = objects[k + 4].xyz;
            vec3 to = objects[k + 2].xyz + u.x * a + u.y * b - o;
            n = normalize(cross(a, b));
            t = max(length(to), 1e-6);
            d = to / t;
        }
        density = which >= 0 ? light_density(object, o, d, t, n) : 0.0;
        radiance = objects[k + 1].rgb;
        t *= 0.9999;  // so that the light does not hide itself
    }
    return radiance;
}
