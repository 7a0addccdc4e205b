// Low-discrepancy numbers: the first two dimensions of Sobol's sequence, shuffled and scrambled anew (Owen's
// way, by hashes) for every pixel and every decision along its path. Every power of two of samples is
// stratified in each pair, and all follows from seed, pixel, decision and sample alone.
//
// Source: Burley, Practical Hash-based Owen Scrambling, JCGT 2020; the hash of Laine and Karras 2011 with the
// constants given there; the second dimension by the five steps of Ahmed 2024.
uint hash(uint x) {
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ x >> 16;
}

uint scramble(uint x, uint seed) {
    x = bitfieldReverse(x) + seed;
    x ^= x * 0x6c50b47cu;
    x ^= x * 0xb82f1e52u;
    x ^= x * 0xc7afe638u;
    x ^= x * 0x8d22f6e6u;
    return bitfieldReverse(x);
}

// From the first dimension to the second: Sobol's second generator matrix is Pascal's triangle modulo 2.
uint sobol_second(uint i) {
    i ^= i << 16;
    i ^= (i & 0x00ff00ffu) << 8;
    i ^= (i & 0x0f0f0f0fu) << 4;
    i ^= (i & 0x33333333u) << 2;
    i ^= (i & 0x55555555u) << 1;
    return i;
}

// The pair of a sample in [0, 1); stream: a hash of pixel and decision.
vec2 sequence(uint index, uint stream) {
    uint first = bitfieldReverse(scramble(index, stream));
    uvec2 x = uvec2(first, sobol_second(first));
    x = uvec2(scramble(x.x, hash(stream ^ 0x68bc21ebu)), scramble(x.y, hash(stream ^ 0x02e5be93u)));
    return vec2(x >> 8) * (1.0 / 16777216.0);
}
