# SPDX-License-Identifier: Apache-2.0
"""Opens the models that ``lumen chat`` talks with in its own process."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lumen_mlir.cli.repl.local import LocalModel
from lumen_mlir.cli.report import Reporter
from lumen_mlir.cli.table import columns
from lumen_mlir.errors import LumenError

if TYPE_CHECKING:
    from lumen_mlir.generate.llm import LLM


@dataclass(frozen=True)
class LocalOpener:
    """See ``Opener``; ``template`` is what ``--chat-template`` gave."""

    reporter: Reporter
    template: str | None
    options: dict[str, Any]

    def first(self, name: str | None) -> LocalModel:
        """The model that the command line names. Raises ``LumenError`` where it has no chat template."""
        llm = self.reporter.open(name, chat_template=self.template, **self.options)
        if self.template is None and not _has_template(llm):
            raise _no_template(llm, name)
        _ = llm.chat_template  # one that is broken is refused before anything is asked
        return LocalModel(llm)

    def another(self, name: str) -> LocalModel:
        """One that is opened during a conversation. Its own template goes first."""
        # A draft is for one model, and what a folder is quantized to means nothing for a file.
        options = {**self.options, "draft": None}
        if not os.path.isdir(name):
            options["format"] = None
        llm = self.reporter.open(name, **options)
        try:
            if not _has_template(llm):
                if self.template is None:
                    raise _no_template(llm, name)
                from lumen_mlir.text.chat import ChatTemplate

                llm.chat_template = ChatTemplate.given(self.template, llm.tokenizer)
            _ = llm.chat_template
        except BaseException:
            llm.close()
            raise
        return LocalModel(llm)


def _has_template(llm: LLM) -> bool:
    from lumen_mlir.text.chat import KEY

    return KEY in llm.model.file.metadata


def _no_template(llm: LLM, model: str | None) -> LumenError:
    """Why a model cannot chat, and what to do instead."""
    from lumen_mlir.text.chat import ChatError

    commands = []
    if model is None:
        name = ""
        error = ChatError(
            "the model that comes with Lumen continues film reviews; it has not learned to talk"
        )
        commands.append(("lumen chat MODEL.gguf", "talk with a model of yours"))
    else:
        name = f" {model}"
        error = ChatError(
            f"{llm.model.file.path}: the model has no chat template; it may only continue texts"
        )
    commands += [
        (f"lumen generate{name} -p TEXT", "continue a text"),
        (f"lumen chat{name} --chat-template plain", "try it all the same (or chatml, llama3, gemma, …)"),
    ]
    error.hints = tuple(columns(commands).splitlines())
    return error
