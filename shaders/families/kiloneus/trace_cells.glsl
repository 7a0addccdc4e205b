// KiloNeuS students: leaf functions for drivers/trace_cells.glsl. distance: position -> distance /
// distance_scale; colour: position, normal, direction -> display colour; positions are those in the cell.
#asset bank distance
#asset constant float distance_scale

float cell_distance(vec3 x) {
    vec4 a[1], y[DISTANCE_NETWORK_BLOCKS];
    a[0] = vec4(x, 0.0);
    distance_network(a, y);
    return distance_scale * y[0].x;
}

#ifdef SHADING
#asset bank distance jacobian
#asset bank colour

vec4 cell_distance_gradient(vec3 x) {
    vec4 a[1], a_dx[1], a_dy[1], a_dz[1];
    vec4 y[DISTANCE_NETWORK_BLOCKS];
    vec4 y_dx[DISTANCE_NETWORK_BLOCKS], y_dy[DISTANCE_NETWORK_BLOCKS], y_dz[DISTANCE_NETWORK_BLOCKS];
    a[0] = vec4(x, 0.0);
    a_dx[0] = vec4(1.0, 0.0, 0.0, 0.0);
    a_dy[0] = vec4(0.0, 1.0, 0.0, 0.0);
    a_dz[0] = vec4(0.0, 0.0, 1.0, 0.0);
    distance_network_jvp(a, a_dx, a_dy, a_dz, y, y_dx, y_dy, y_dz);
    return distance_scale * vec4(y_dx[0].x, y_dy[0].x, y_dz[0].x, y[0].x);
}

vec3 cell_colour(vec3 x, vec3 n, vec3 d) {
    vec4 a[1], b[1], c[1], y[COLOUR_NETWORK_BLOCKS];
    a[0] = vec4(x, 0.0);
    b[0] = vec4(n, 0.0);
    c[0] = vec4(d, 0.0);
    colour_network(a, b, c, y);
    return y[0].xyz;
}
#endif

void cell_load(int network) {
    distance_load(network);
#ifdef SHADING
    colour_load(network);
#endif
}
