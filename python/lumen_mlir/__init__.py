# SPDX-License-Identifier: Apache-2.0
"""Lumen: an MLIR-based compiler and runtime for quantized language models.

``LLM`` runs a model file, ``compile`` a module of the ``lumen`` dialect. The parts are imported when they are
first used, so that ``import lumen_mlir`` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lumen_mlir.errors import LumenError, about_extension
from lumen_mlir.version import __version__

if TYPE_CHECKING:
    from lumen_mlir.generate.asynchronous import AsyncLLM
    from lumen_mlir.generate.llm import LLM
    from lumen_mlir.grammar.grammar import Grammar, GrammarError
    from lumen_mlir.run.engine import compile

__all__ = ["LLM", "AsyncLLM", "Grammar", "GrammarError", "LumenError", "__version__", "compile"]

_LAZY = {
    "AsyncLLM": "lumen_mlir.generate.asynchronous",
    "Grammar": "lumen_mlir.grammar.grammar",
    "GrammarError": "lumen_mlir.grammar.grammar",
    "LLM": "lumen_mlir.generate.llm",
    "compile": "lumen_mlir.run.engine",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    try:
        value = getattr(import_module(_LAZY[name]), name)
    except ImportError as error:
        if (better := about_extension(error)) is None:
            raise
        raise better from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
