# SPDX-License-Identifier: Apache-2.0
"""Python of the user's that adds formats: ``lumen --plugin MODULE_OR_FILE`` and ``LUMEN_PLUGINS``.

An installed package needs neither: its entry points are found. A script needs neither: it uses the decorator.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from lumen_mlir import env
from lumen_mlir.errors import LumenError, one_line

_files: dict[Path, ModuleType] = {}
_environment: set[str] = set()


def load(name: str) -> ModuleType:
    """Imports a plug-in, once: a file (what ends in ``.py`` or has a path separator) or a module's name.

    Raises LumenError, in one line, where it cannot be found or fails.
    """
    is_file = name.endswith(".py") or os.sep in name
    try:
        return _load_file(Path(name)) if is_file else importlib.import_module(name)
    except LumenError as error:
        raise LumenError(f"plug-in '{name}': {error}") from error
    except (Exception, SystemExit) as error:
        reason = one_line(error)
        raise LumenError(f"plug-in '{name}' failed to load: {type(error).__name__}: {reason}") from error


def load_environment() -> None:
    """Loads what ``LUMEN_PLUGINS`` lists, each once."""
    for name in env.PLUGINS.get():
        if name not in _environment:
            # Noted first: a plug-in may itself ask which formats there are.
            _environment.add(name)
            load(name)


def _load_file(path: Path) -> ModuleType:
    path = path.expanduser().resolve()
    if path in _files:
        return _files[path]
    if not path.is_file():
        raise LumenError("there is no such file")
    name = f"lumen_plugin_{path.stem}_{len(_files)}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LumenError("is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Known by its name while it runs, as for any import: annotations and sources are looked up there.
    sys.modules[name] = _files[path] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name], _files[path]
        raise
    return module
