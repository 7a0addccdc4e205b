// Gaussian RBF picture: leaf functions for drivers/image.glsl. The task is
// training/families/gaussian_rbf/image.py. decoder: features -> premultiplied red, green, blue, and alpha
// where there are four.
#asset grid features
#asset network decoder

vec4 picture(vec2 uv) {
    vec4 x[FEATURES_BLOCKS], y[DECODER_BLOCKS];
    features(uv, x);
    decoder(x, y);
#if DECODER_WIDTH == 3
    y[0].a = 1.0;
#endif
    return y[0];
}
