// One linear layer on all pixels of a map, for one block of its outputs: y = activation(W x + b) + what is
// added. render/light_field_plan.py says how layers are cut into blocks and chunks, and writes `product`.
//
// LANES        invocations of a group, each with PIXELS pixels, LANES apart
// BLOCKS       vec4 of outputs of a group
// INPUTS       of all taps together; ROWS of weights are staged at a time
// FACTOR, TAPS an upsampling step: FACTOR^2 phases, each of TAPS^2 pixels around; 1 and 1 for others
// ADDITIONS    how many maps are added to the result
// PICTURE      the outputs are colours: write the picture; through `refine` before that where REFINE is defined
#ifndef CHUNK
#define CHUNK u_chunk
#endif
#ifdef HALF_PRECISION
#define narrow4 f16vec4
#define narrow float16_t
#else
#define narrow4 vec4
#define narrow float
#endif

layout(local_size_x = LANES) in;
layout(std430, binding = 0) readonly buffer Weights {
#ifdef STORED_HALF
    uvec2 weights[];
#else
    vec4 weights[];
#endif
};
layout(std430, binding = 1) readonly buffer Input { float input_map[]; };
layout(std430, binding = 2) readonly buffer Added { float added[]; };
layout(std430, binding = 3) readonly buffer AddedToo { float added_too[]; };
layout(std430, binding = 4) writeonly buffer Output { float output_map[]; };
layout(binding = 0) writeonly uniform image2D i_picture;

uniform ivec2 u_size;  // of the input's map
uniform int u_first;   // first row of weights: bias of all outputs of all phases, then the chunks of the blocks
uniform int u_blocks;  // of a phase
uniform int u_chunks;  // of a tap's channels, where `product` counts them in a loop
uniform int u_chunk;   // inputs of one

shared narrow4 rows[ROWS];

vec4 weight_row(int i) {
#ifdef STORED_HALF
    return vec4(unpackHalf2x16(weights[i].x), unpackHalf2x16(weights[i].y));
#else
    return weights[i];
#endif
}

// A chunk of weights to where the group shares it.
void stage(int first, int count) {
    barrier();
    for (int i = int(gl_LocalInvocationIndex); i < count; i += LANES) rows[i] = narrow4(weight_row(first + i));
    barrier();
}

int pixels, pixel_of[PIXELS];
int places[PIXELS * TAPS * TAPS];  // of the taps in a channel of the input
float inside[PIXELS * TAPS * TAPS];

float input_value(int p, int tap, int channel) {
    int i = p * TAPS * TAPS + tap;
    return inside[i] * input_map[channel * pixels + places[i]];
}

#asset product
#asset refine

#asset activated

void main() {
    pixels = u_size.x * u_size.y;
    int block = int(gl_WorkGroupID.y) % u_blocks, phase = int(gl_WorkGroupID.y) / u_blocks;
    ivec2 inner = ivec2(phase % FACTOR, phase / FACTOR);
    int first_pixel = int(gl_WorkGroupID.x) * LANES * PIXELS + int(gl_LocalInvocationIndex);
    for (int p = 0; p < PIXELS; ++p) {
        // those past the end work on the last one and keep it to themselves: nothing may stand in a branch
        pixel_of[p] = min(first_pixel + p * LANES, pixels - 1);
        ivec2 at = ivec2(pixel_of[p] % u_size.x, pixel_of[p] / u_size.x);
        for (int tap = 0; tap < TAPS * TAPS; ++tap) {
            ivec2 x = at;
#if TAPS == 2
            x += ivec2(tap % 2, tap / 2) + inner - 1;
#endif
            ivec2 near = clamp(x, ivec2(0), u_size - 1);
            inside[p * TAPS * TAPS + tap] = x == near ? 1.0 : 0.0;
            places[p * TAPS * TAPS + tap] = near.y * u_size.x + near.x;
        }
    }

    vec4 sums[PIXELS * BLOCKS];
    for (int j = 0; j < BLOCKS; ++j) {
        vec4 bias = weight_row(u_first + (phase * u_blocks + block) * BLOCKS + j);
        for (int p = 0; p < PIXELS; ++p) sums[p * BLOCKS + j] = bias;
    }
    int phases = FACTOR * FACTOR;
    product(u_first + phases * u_blocks * BLOCKS + (phase * u_blocks + block) * INPUTS * BLOCKS, sums);

    int wide = u_size.x * FACTOR, out_pixels = pixels * phases;
    for (int p = 0; p < PIXELS; ++p) {
        ivec2 at = ivec2(pixel_of[p] % u_size.x, pixel_of[p] / u_size.x) * FACTOR + inner;
        int place = at.y * wide + at.x;
        bool mine = first_pixel + p * LANES < pixels;
#ifdef PICTURE
#ifdef REFINE
        vec4 x[BLOCKS], y[1];
        for (int j = 0; j < BLOCKS; ++j) x[j] = activated(sums[p * BLOCKS + j]);
        refine(x, y);
        vec4 colour = y[0];
#else
        vec4 colour = activated(sums[p * BLOCKS]);
#endif
        if (mine) imageStore(i_picture, at, vec4(colour.rgb, 1.0));
#else
        for (int j = 0; j < BLOCKS; ++j) {
            vec4 y = activated(sums[p * BLOCKS + j]);
            for (int k = 0; k < 4; ++k) {
                int i = (4 * (block * BLOCKS + j) + k) * out_pixels + place;
                float value = y[k];
#if ADDITIONS > 0
                value += added[i];
#endif
#if ADDITIONS > 1
                value += added_too[i];
#endif
                if (mine) output_map[i] = value;
            }
        }
#endif
    }
}
