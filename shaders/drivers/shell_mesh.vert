// A mesh as the camera of common/camera.glsl sees it. Row 0 of the target is the picture's top row, so faces
// turn round: which side of them is seen is told by their planes.
uniform mat3 u_camera_from_world;
uniform vec3 u_position;
uniform vec2 u_focal;
uniform vec2 u_centre;
uniform vec2 u_size;   // of the picture in pixels
uniform vec2 u_depth;  // nearest and farthest that there is, or that is drawn
in vec3 in_x;

void main() {
    vec3 p = u_camera_from_world * (in_x - u_position);
    vec2 place = (2.0 * u_centre / u_size - 1.0) * -p.z + 2.0 * u_focal / u_size * vec2(p.x, -p.y);
    float depth = (-p.z * (u_depth.y + u_depth.x) - 2.0 * u_depth.x * u_depth.y) / (u_depth.y - u_depth.x);
    gl_Position = vec4(place, depth, -p.z);
}
