"""``render-train --doctor``."""

from __future__ import annotations

import pytest

from training.cli import main


def test_doctor_tells_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--doctor"]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line[0] != " ")
    assert {"python", "torch", "numba", "OpenGL", "EGL", "CUDA", "nerfacc", "tiny-cuda-nn"} <= rows.keys()


def test_doctor_without_opengl(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSHADER_NO_GL", "1")
    assert main(["--doctor"]) == 0
    assert "scored by the numpy renderer" in capsys.readouterr().out


def test_a_scene_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2 and "name a scene file" in capsys.readouterr().err
