# SPDX-License-Identifier: Apache-2.0
"""These tests need the peers of ``requirements.txt``; without them they are skipped, with the reason."""

import importlib.util
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "py")]

# What each file needs; tests of the server need nothing of what models are compared with.
_MODELS = ("gguf", "llama_cpp", "torch", "transformers")
_SERVER = {
    "test_clients.py": ("anthropic", "ollama", "openai"),
    "test_server_clients.py": ("langchain_openai", "lm_eval", "schemathesis"),
    "test_server_load.py": (),
    "test_ray.py": ("ray",),
}


def _missing(names: Iterable[str]) -> list[str]:
    return [name for name in names if importlib.util.find_spec(name) is None]


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leaves out the files whose peers are not there."""
    if not collection_path.match("test_*.py"):
        return None
    return bool(_missing(_SERVER.get(collection_path.name, _MODELS))) or None


def pytest_terminal_summary(terminalreporter):
    missing = _missing(name for names in (_MODELS, *_SERVER.values()) for name in names)
    if missing:
        terminalreporter.write_line(
            f"peer tests skipped: {', '.join(missing)} not installed (see test/peers/requirements.txt)"
        )


@pytest.fixture(params=["compiled", "reference"])
def open_session(request, tmp_path_factory) -> Callable:
    """Opens a model file with either engine: ``open_session(path, context=…, kv_type=…, activations=…)``."""
    from lumen_mlir.models import Model
    from lumen_mlir.reference import ReferenceSession
    from lumen_mlir.run.session_options import SessionOptions
    from lumen_mlir.run.stepper import Stepper
    from lumen_mlir.storage.cache import Cache

    def open_session(path: Path, activations: str = "exact", **options):
        model = Model.open(path)
        if request.param == "reference":
            return ReferenceSession(model, activations=activations, **options)
        cache = Cache(tmp_path_factory.getbasetemp() / "cache")
        return Stepper(model, SessionOptions(activations=activations, **options), cache=cache)

    return open_session


@pytest.fixture
def f16_model(tmp_path) -> Path:
    """The embedded model with its weights widened to float16."""
    from lumen_mlir.data import embedded_model_path
    from lumen_mlir.gguf import GGUFFile
    from lumen_mlir.testing.convert import convert_weights

    path = tmp_path / "f16.gguf"
    convert_weights(GGUFFile.open(embedded_model_path()), path, "f16")
    return path
