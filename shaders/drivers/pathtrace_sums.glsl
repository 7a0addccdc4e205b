// What has come together of all samples of a pixel.
struct Sum {
    vec4 radiance;  // and the evaluations
    vec4 first;     // normals and distances of what the pixel shows
    vec4 albedo;    // likewise, and the number of samples that met anything
    vec4 square;    // .x: of the luminance of light without its albedo
};

// What the light of a path is a multiple of.
vec3 sums_albedo(vec3 albedo) {
    return max(albedo, vec3(1e-3));
}
