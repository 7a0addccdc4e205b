// Display colour and light: the transfer curve of sRGB (IEC 61966-2-1).
vec3 linear_from_srgb(vec3 c) {
    return mix(c / 12.92, pow((max(c, vec3(0.0)) + 0.055) / 1.055, vec3(2.4)), greaterThan(c, vec3(0.04045)));
}

vec3 srgb_from_linear(vec3 c) {
    vec3 curve = 1.055 * pow(max(c, vec3(1e-8)), vec3(1.0 / 2.4)) - 0.055;
    return mix(12.92 * max(c, vec3(0.0)), curve, greaterThan(c, vec3(0.0031308)));
}

float luminance(vec3 c) {
    return dot(c, vec3(0.2126, 0.7152, 0.0722));
}
