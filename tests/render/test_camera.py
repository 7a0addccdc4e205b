"""Camera: its GLSL twin, resizing, JSON, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import moderngl
import numpy as np
import pytest

from render.camera import Camera, look_at
from render.errors import InshaderError
from render.glsl import compose_text, compute_program

MAIN = """
#include "common/camera.glsl"
layout(local_size_x = 1) in;
layout(rgba32f, binding = 0) writeonly uniform image2D i_rays;
void main() {
    vec3 o, d;
    camera_ray(vec2(gl_GlobalInvocationID.xy) + 0.5, o, d);
    imageStore(i_rays, ivec2(gl_GlobalInvocationID.xy), vec4(d, o.y));
}
"""


@pytest.fixture
def camera() -> Camera:
    camera = look_at([1, -2, 0.5], [0.1, 0, 0], [0, 0, 1], 40, 30, 0.8)
    return replace(camera, fl_x=35.0, cx=18.5)


def test_rays_have_a_twin(camera: Camera, ctx: moderngl.Context) -> None:
    program = compute_program(ctx, compose_text(MAIN, name="twin"))
    program["u_world_from_camera"].write(camera.world_from_camera[:3, :3].T.astype("f4").tobytes())
    program["u_position"] = tuple(camera.position)
    program["u_focal"] = (camera.fl_x, camera.fl_y)
    program["u_centre"] = (camera.cx, camera.cy)
    texture = ctx.texture((camera.w, camera.h), 4, dtype="f4")
    texture.bind_to_image(0, read=False, write=True)
    program.run(camera.w, camera.h)
    ctx.finish()
    found = np.frombuffer(texture.read(), np.float32).reshape(camera.h, camera.w, 4)
    rays_o, rays_d = camera.rays()
    assert np.abs(found[..., :3] - rays_d).max() < 1e-6
    assert np.allclose(found[..., 3], rays_o[..., 1])
    program.release()
    texture.release()


def test_rays_look_along_the_axes() -> None:
    camera = Camera(np.eye(4), 10, 10, 2, 1.5, 4, 3)
    rays_o, rays_d = camera.rays()
    assert rays_o.shape == rays_d.shape == (3, 4, 3) and rays_d.dtype == np.float32
    assert np.allclose(np.linalg.norm(rays_d, axis=-1), 1)
    assert rays_d[0, 0, 0] < 0 < rays_d[0, 0, 1] and (rays_d[..., 2] < 0).all()  # top left: left, up, forward


def test_look_at_looks_at() -> None:
    camera = look_at([2, 3, 4], [0, 1, 0], [0, 0, 1], 64, 64, 0.5)
    assert np.allclose(camera.forward, -np.array([2, 2, 4]) / np.sqrt(24))
    assert camera.world_from_camera[2, 0] == pytest.approx(0)  # the horizon is level
    with pytest.raises(InshaderError, match="one line"):
        look_at([0, 0, 2], [0, 0, 0], [0, 0, 1], 64, 64, 0.5)


def test_resized_keeps_the_height(camera: Camera) -> None:
    wide = camera.resized(120, 60)
    assert (wide.w, wide.h) == (120, 60)
    assert wide.fl_y == 2 * camera.fl_y and wide.cx - 60 == pytest.approx(2 * (camera.cx - 20))
    again = camera.resized(80, 60)
    assert np.allclose(
        again.rays()[1][0::2, 0::2] + again.rays()[1][1::2, 1::2], 2 * camera.rays()[1], atol=1e-3
    )


def test_transformed_stays_orthonormal(camera: Camera) -> None:
    similarity = np.diag([3.0, 3, 3, 1])
    similarity[:3, 3] = 1
    moved = camera.transformed(similarity)
    assert np.allclose(moved.position, 3 * camera.position + 1)
    assert np.allclose(moved.world_from_camera[:3, :3], camera.world_from_camera[:3, :3])


def test_scaled_poses_are_made_unit(camera: Camera) -> None:
    """Files have them, and drivers take axes for unit vectors."""
    data = camera.to_json()
    scaled = np.array(data["world_from_camera"])
    scaled[:3, :3] *= 2.5
    again = Camera.from_json({**data, "world_from_camera": scaled.tolist()})
    np.testing.assert_allclose(again.world_from_camera, camera.world_from_camera, atol=1e-12)


def test_json_round_trip(camera: Camera) -> None:
    again = Camera.from_json(camera.to_json())
    assert again.to_json() == camera.to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fl_x": 0}, "focal"),
        ({"fl_y": float("nan")}, "finite"),
        ({"cx": float("inf")}, "finite"),
        ({"w": 0}, "size"),
        ({"h": 10**9}, "size"),
        ({"world_from_camera": [[0] * 4] * 4}, "singular"),
        ({"world_from_camera": [[1, 0], [0, 1]]}, "shape"),
        ({"world_from_camera": (2 * np.eye(4)).tolist()}, "last row"),
        ({"world_from_camera": "here"}, "camera"),
        ({"fl_x": "wide"}, "camera"),
        ({"w": float("inf")}, "camera"),
    ],
)
def test_bad_cameras_are_refused(change: dict[str, Any], message: str, camera: Camera) -> None:
    with pytest.raises(InshaderError, match=message):
        Camera.from_json({**camera.to_json(), **change})


def test_missing_keys_are_named(camera: Camera) -> None:
    data = camera.to_json()
    del data["fl_y"]
    with pytest.raises(InshaderError, match="fl_y"):
        Camera.from_json(data)
    with pytest.raises(InshaderError, match="list"):
        Camera.from_json([data])
