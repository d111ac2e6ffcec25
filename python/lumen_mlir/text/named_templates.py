# SPDX-License-Identifier: Apache-2.0
"""Chat templates by name, for files that have none: the usual ways to mark who says what.

Each is minimal: turns of text, no tools. A model answers well only by the one it was trained with.
"""

from __future__ import annotations

from dataclasses import dataclass

from lumen_mlir.errors import LumenError, did_you_mean, shown


@dataclass(frozen=True)
class NamedTemplate:
    """A template's source, and the texts that end an answer where no token of the model does."""

    source: str
    stops: tuple[str, ...]


def _turns(turn: str, answer: str, *, begin: str = "") -> str:
    """A template that writes ``turn`` (of ``role`` and ``text``) for every message, then ``answer``."""
    return (
        begin + "{% for message in messages %}"
        "{% set role = message.role %}{% set text = message.content %}"
        f"{turn}{{% endfor %}}{{% if add_generation_prompt %}}{answer}{{% endif %}}"
    )


def _without_system(user: str, model: str, answer: str, *, begin: str = "", system: str) -> str:
    """A template for models that know no system: its text (as ``system`` has it) opens the first question."""
    return (
        begin + "{% set space = namespace(opening='') %}{% for message in messages %}"
        "{% set text = message.content %}"
        f"{{% if message.role == 'system' %}}{{% set space.opening = {system} %}}"
        f"{{% elif message.role == 'assistant' %}}{model}"
        "{% else %}{% set text = space.opening ~ text %}{% set space.opening = '' %}"
        f"{user}{{% endif %}}"
        f"{{% endfor %}}{{% if add_generation_prompt %}}{answer}{{% endif %}}"
    )


NAMED = {
    "chatml": NamedTemplate(
        _turns(
            "{{ '<|im_start|>' ~ role ~ '\\n' ~ text ~ '<|im_end|>\\n' }}",
            "{{ '<|im_start|>assistant\\n' }}",
        ),
        ("<|im_end|>", "<|im_start|>"),
    ),
    "exaone3": NamedTemplate(
        _turns(
            "{{ '[|' ~ role ~ '|]' ~ text ~ ('\\n' if role == 'user' else '[|endofturn|]\\n') }}",
            "{{ '[|assistant|]' }}",
        ),
        ("[|endofturn|]",),
    ),
    "gemma": NamedTemplate(
        _without_system(
            "{{ '<start_of_turn>user\\n' ~ text ~ '<end_of_turn>\\n' }}",
            "{{ '<start_of_turn>model\\n' ~ text ~ '<end_of_turn>\\n' }}",
            "{{ '<start_of_turn>model\\n' }}",
            begin="{{ bos_token }}",
            system="text ~ '\\n\\n'",
        ),
        ("<end_of_turn>", "<start_of_turn>"),
    ),
    "llama2": NamedTemplate(
        _without_system(
            "{{ bos_token ~ '[INST] ' ~ text ~ ' [/INST]' }}",
            "{{ ' ' ~ text ~ ' ' ~ eos_token }}",
            "",
            system="'<<SYS>>\\n' ~ text ~ '\\n<</SYS>>\\n\\n'",
        ),
        ("[INST]",),
    ),
    "llama3": NamedTemplate(
        _turns(
            "{{ '<|start_header_id|>' ~ role ~ '<|end_header_id|>\\n\\n' ~ text ~ '<|eot_id|>' }}",
            "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}",
            begin="{{ bos_token }}",
        ),
        ("<|eot_id|>", "<|start_header_id|>"),
    ),
    "phi3": NamedTemplate(
        _turns("{{ '<|' ~ role ~ '|>\\n' ~ text ~ '<|end|>\\n' }}", "{{ '<|assistant|>\\n' }}"),
        ("<|end|>", "<|user|>"),
    ),
    "plain": NamedTemplate(
        _turns(
            "{{ {'system': '', 'user': 'User: ', 'assistant': 'Assistant: '}.get(role, role ~ ': ')"
            " ~ text ~ '\\n\\n' }}",
            "{{ 'Assistant:' }}",
        ),
        ("\nUser:",),
    ),
    "vicuna": NamedTemplate(
        _turns(
            "{{ {'system': text ~ '\\n\\n', 'user': 'USER: ' ~ text ~ '\\n'}"
            ".get(role, 'ASSISTANT: ' ~ text ~ eos_token ~ '\\n') }}",
            "{{ 'ASSISTANT:' }}",
        ),
        ("\nUSER:",),
    ),
    "zephyr": NamedTemplate(
        _turns(
            "{{ '<|' ~ role ~ '|>\\n' ~ text ~ eos_token ~ '\\n' }}",
            "{{ '<|assistant|>\\n' }}",
        ),
        ("<|user|>", "<|system|>"),
    ),
}


def named_template(name: str) -> NamedTemplate:
    """The template of that name. Raises ``LumenError`` that lists the names."""
    if name not in NAMED:
        hint = did_you_mean(name, NAMED) or f"; there are {', '.join(NAMED)}"
        raise LumenError(f"there is no chat template {shown(name)}, nor a file of that name{hint}")
    return NAMED[name]
