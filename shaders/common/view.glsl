// What a picture shows, and before what.
uniform int u_mode;
uniform vec3 u_background;
