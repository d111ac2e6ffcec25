# SPDX-License-Identifier: Apache-2.0
"""Fixtures for all tests, and where they keep what they write: never in the folders of the user."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

# NumPy's products of matrices, before NumPy is imported: processes of tests side by side, each with a thread
# for every processor, spend most of their time waiting for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# isort: split
import code_cache
import emulated
import pytest
import run_in_parallel
from own_home import nothing_is_written_at_home, user_home
from own_signals import hear_interrupts

from lumen_mlir.formats import plugins, registry
from lumen_mlir.run import device

__all__ = ["nothing_is_written_at_home", "user_home"]

# For the time of a run, shared by its processes.
_RUN_FOLDER = "LUMEN_TEST_FOLDER"


def pytest_configure(config):
    hear_interrupts()
    code_cache.install()
    if not hasattr(config, "workerinput"):
        os.environ[_RUN_FOLDER] = tempfile.mkdtemp(prefix="lumen-tests-")
        code_cache.trim(code_cache.FOLDER)
        code_cache.trim(code_cache.OBJECTS)
    folder = Path(os.environ[_RUN_FOLDER])
    os.environ["LUMEN_CACHE_DIR"] = str(folder / "cache")
    # What is looked up at home is looked up here, where nothing may be written.
    own = tempfile.mkdtemp(prefix="home-", dir=folder)
    os.environ |= {"HOME": own, "XDG_CACHE_HOME": f"{own}/cache"}
    # What drivers of Vulkan compile, they keep here.
    os.environ["MESA_SHADER_CACHE_DIR"] = str(emulated.ROOT / "build" / "test-cache" / "shaders")


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(_RUN_FOLDER), ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    return run_in_parallel.workers()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return run_in_parallel.make_scheduler(config, log)


def pytest_collection_modifyitems(items):
    run_in_parallel.slow_first(items)


@pytest.fixture(autouse=True)
def runs_elsewhere(request):
    """Tests with the marks ``emulated``, ``gpu`` and ``wasm`` run code for targets of other architectures."""
    if request.node.get_closest_marker("emulated") is not None:
        emulated.check_installed()
        other = emulated.DEVICE
    elif request.node.get_closest_marker("wasm") is not None:
        emulated.check_engine()
        other = emulated.ENGINE
    elif request.node.get_closest_marker("gpu") is not None:
        if request.node.get_closest_marker("vulkan") is not None:
            emulated.check_vulkan()
        other = emulated.GPU
    else:
        yield
        return
    with device.using(other):
        yield


@pytest.fixture
def lumen_opt():
    """The path of ``lumen-opt``: on the path, beside Python, or in a build folder."""
    beside = Path(sys.executable).with_name("lumen-opt")
    built = Path(__file__).parents[2].glob("build*/**/bin/lumen-opt")
    found = shutil.which("lumen-opt") or next(map(str, (p for p in (beside, *built) if p.exists())), None)
    return found or pytest.skip("lumen-opt is not built")


@pytest.fixture
def own_registry(monkeypatch):
    """What a test registers and loads is forgotten behind it (built-in formats stay)."""
    monkeypatch.setattr(plugins, "_files", {})
    monkeypatch.setattr(plugins, "_environment", set())
    registry._entry_points.cache_clear()
    before = set(registry._registered)
    yield
    registry._entry_points.cache_clear()
    for name in set(registry._registered) - before - set(registry._BUILTIN):
        del registry._registered[name]
