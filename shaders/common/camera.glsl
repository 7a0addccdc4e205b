// The ray through a pixel: the twin of Camera.rays in render/camera.py.
// pixel: (column, row) of a pixel's centre, rows from the top; d comes out as a unit vector.
uniform mat3 u_world_from_camera;  // axes: right, up, back
uniform vec3 u_position;
uniform vec2 u_focal;              // in pixels
uniform vec2 u_centre;

void camera_ray(vec2 pixel, out vec3 o, out vec3 d) {
    vec2 slope = (pixel - u_centre) / u_focal;
    o = u_position;
    d = normalize(u_world_from_camera * vec3(slope.x, -slope.y, -1.0));
}
