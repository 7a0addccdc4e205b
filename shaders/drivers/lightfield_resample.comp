// The picture at the pitch that was trained -> the view: the twin of `resampled` in render/light_field_rays.py.
layout(local_size_x = 8, local_size_y = 8) in;
layout(binding = 0) writeonly uniform image2D i_picture;
uniform sampler2D u_source;

uniform vec2 u_scale;  // pixels of the source for one of the view
uniform int u_taps;    // bilinear values along a side that a pixel is the mean of

void main() {
    ivec2 pixel = ivec2(gl_GlobalInvocationID.xy);
    vec2 last = vec2(textureSize(u_source, 0) - 1);
    vec4 sum = vec4(0.0);
    for (int k = 0; k < u_taps * u_taps; ++k) {
        vec2 tap = (vec2(k % u_taps, k / u_taps) + 0.5) / float(u_taps);
        vec2 at = clamp((vec2(pixel) + tap) * u_scale - 0.5, vec2(0.0), last);
        ivec2 low = ivec2(at), high = min(low + 1, ivec2(last));
        vec2 part = at - vec2(low);
        vec4 upper = mix(texelFetch(u_source, low, 0), texelFetch(u_source, ivec2(high.x, low.y), 0), part.x);
        vec4 lower = mix(texelFetch(u_source, ivec2(low.x, high.y), 0), texelFetch(u_source, high, 0), part.x);
        sum += mix(upper, lower, part.y);
    }
    ivec2 size = imageSize(i_picture);
    if (pixel.x < size.x && pixel.y < size.y) imageStore(i_picture, pixel, sum / float(u_taps * u_taps));
}
