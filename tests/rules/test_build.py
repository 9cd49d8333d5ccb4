"""How the package is built: on which Pythons it is refused."""

import importlib.util
import sysconfig
from pathlib import Path

import pytest

BACKEND = Path(__file__).parents[2] / "disklog_mp" / "csrc" / "build_backend.py"


def load_backend() -> object:
    """Import the build backend as pip does, by its file."""
    spec = importlib.util.spec_from_file_location("build_backend", BACKEND)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_build_offers_what_pip_calls() -> None:
    """The hooks of setuptools, for wheels, source distributions and editable installs."""
    pytest.importorskip("setuptools")
    backend = load_backend()

    for hook in ("build_wheel", "build_sdist", "build_editable", "get_requires_for_build_wheel"):
        assert callable(getattr(backend, hook))


def test_the_build_ends_with_a_sentence_on_a_free_threaded_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what is needed, before any compiler runs."""
    pytest.importorskip("setuptools")
    real = sysconfig.get_config_var
    monkeypatch.setattr(
        sysconfig, "get_config_var", lambda name: int(name == "Py_GIL_DISABLED") or real(name)
    )

    with pytest.raises(SystemExit, match="disklog-mp needs a Python with the GIL"):
        load_backend()
