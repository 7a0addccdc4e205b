// Rays that ask what of the field they meet first, and the answers: see render/intersect.py.
layout(std430, binding = 1) readonly buffer ray_records { vec4 records[]; };
layout(std430, binding = 2) writeonly buffer hit_records { vec4 answers[]; };
