# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501 - templates are long
"""Chat templates in the manner of each family: turns, tools, calls, results and reasoning.

They are Lumen's own and minimal. What counts is how an answer is written: markers, white space, the form of
calls, what is left out of earlier turns, and with what a prompt ends.
"""

from __future__ import annotations

from dataclasses import dataclass

_HERMES_TOOLS = (
    "{% if tools %}{{ '<|im_start|>system\n# Tools\n<tools>' }}{% for t in tools %}{{ '\n' ~ (t | tojson) }}{% endfor %}"
    '{{ \'\n</tools>\nAnswer with <tool_call>\n{"name": …, "arguments": …}\n</tool_call><|im_end|>\n\' }}{% endif %}'
)
_HERMES_CALLS = (
    "{% for call in m.tool_calls or [] %}{% set f = call.function or call %}"
    "{% if (loop.first and m.content) or not loop.first %}{{ '\n' }}{% endif %}"
    "{{ '<tool_call>\n{\"name\": \"' ~ f.name ~ '\", \"arguments\": ' ~ (f.arguments | tojson) ~ '}\n</tool_call>' }}"
    "{% endfor %}"
)
_CHATML_OTHERS = (
    "{% elif m.role == 'tool' %}{{ '<|im_start|>user\n<tool_response>\n' ~ m.content ~ '\n</tool_response><|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}{% endif %}{% endfor %}"
)

QWEN2 = (
    _HERMES_TOOLS + "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{{ '<|im_start|>assistant\n' ~ (m.content or '') }}" + _HERMES_CALLS + "{{ '<|im_end|>\n' }}"
    + _CHATML_OTHERS + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)  # fmt: skip
# Reasoning is taken out of earlier turns; the last one has it even if it is empty.
_QWEN3_ANSWER = (
    "{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}"
    "{% endif %}{% endfor %}{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% set content = m.content or '' %}{% set thought = '' %}"
    "{% if m.reasoning_content is string %}{% set thought = m.reasoning_content %}"
    "{% elif '</think>' in content %}{% set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}{{ '<|im_start|>assistant\n' }}"
    "{% if loop.index0 > ns.last and (loop.last or thought) %}{{ '<think>\n' ~ thought.strip('\n') ~ '\n</think>\n\n' ~ content.lstrip('\n') }}"
    "{% else %}{{ content }}{% endif %}"
)
_QWEN3_PROMPT = (
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
QWEN3 = (
    _HERMES_TOOLS + _QWEN3_ANSWER + _HERMES_CALLS + "{{ '<|im_end|>\n' }}" + _CHATML_OTHERS + _QWEN3_PROMPT
)
# Always thinks: the prompt begins the reasoning.
QWEN3_THINKING = QWEN3.replace(
    _QWEN3_PROMPT, "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)
QWEN3_CODER = (
    "{% if tools %}{{ '<|im_start|>system\n<tools>' }}{% for t in tools %}{{ '\n' ~ (t | tojson) }}{% endfor %}"
    "{{ '\n</tools><|im_end|>\n' }}{% endif %}{% for m in messages %}{% if m.role == 'assistant' %}"
    "{{ '<|im_start|>assistant' }}{% if m.content %}{{ '\n' ~ m.content ~ '\n' if m.tool_calls else '\n' ~ m.content }}{% elif m.tool_calls %}{{ '\n' }}{% endif %}"
    "{% for call in m.tool_calls or [] %}{{ '\n' if not loop.first }}{{ '<tool_call>\n<function=' ~ call.function.name ~ '>\n' }}"
    "{% for k, v in call.function.arguments.items() %}{{ '<parameter=' ~ k ~ '>\n' }}"
    "{{ v | tojson if v is mapping or (v is sequence and v is not string) else v | string }}{{ '\n</parameter>\n' }}{% endfor %}"
    "{{ '</function>\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\n' }}"
    + _CHATML_OTHERS + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)  # fmt: skip

_LLAMA3 = "{{ '<|start_header_id|>' ~ %s ~ '<|end_header_id|>\n\n' }}"
_LLAMA3_TURNS = (
    "{% elif m.role == 'tool' %}" + _LLAMA3 % "'ipython'" + "{{ m.content }}<|eot_id|>"
    "{% else %}" + _LLAMA3 % "m.role" + "{{ m.content | trim }}<|eot_id|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}" + _LLAMA3 % "'assistant'" + "{% endif %}"
)
_LLAMA3_TOOLS = (
    "{{ bos_token }}{% if tools %}" + _LLAMA3 % "'system'"
    + "Environment: ipython\n{% for t in tools %}{{ t | tojson(indent=4) }}\n{% endfor %}<|eot_id|>{% endif %}{% for m in messages %}"
)  # fmt: skip
LLAMA3 = (
    _LLAMA3_TOOLS + "{% if m.tool_calls %}{% if m.tool_calls | length != 1 %}{{ raise_exception('only single tool-calls') }}{% endif %}"
    "{% set f = m.tool_calls[0].function %}" + _LLAMA3 % "'assistant'"
    + "{% if builtin_tools is defined and f.name in builtin_tools %}<|python_tag|>{{ f.name }}.call()<|eom_id|>{% else %}"
    "{{ '{\"name\": \"' ~ f.name ~ '\", \"parameters\": ' ~ (f.arguments | tojson) ~ '}' }}<|eot_id|>{% endif %}"
    + _LLAMA3_TURNS
)  # fmt: skip
LLAMA_PYTHONIC = (
    _LLAMA3_TOOLS + "{% if m.tool_calls %}" + _LLAMA3 % "'assistant'"
    + "{{ '[' }}{% for call in m.tool_calls %}{{ call.function.name ~ '(' }}"
    "{% for k, v in call.function.arguments.items() %}{{ k ~ '=' ~ ('True' if v is true else 'False' if v is false else 'None' if v is none else v | tojson) }}"
    "{{ ', ' if not loop.last }}{% endfor %}{{ ')' ~ (', ' if not loop.last else '') }}{% endfor %}{{ ']' }}<|eot_id|>"
    + _LLAMA3_TURNS
)  # fmt: skip
KANANA = (
    _LLAMA3_TOOLS + "{% if m.tool_calls %}" + _LLAMA3 % "'assistant'" + "{{ m.content or '' }}"
    "{% for call in m.tool_calls %}{{ '<function=' ~ call.function.name ~ '>' ~ (call.function.arguments | tojson) ~ '</function>' }}"
    "{{ '\n' if not loop.last }}{% endfor %}<|eot_id|>" + _LLAMA3_TURNS
)
MIDM = (
    _LLAMA3_TOOLS + "{% if m.tool_calls %}" + _LLAMA3 % "'assistant'" + "{{ m.content ~ '\n' if m.content }}"
    "{% for call in m.tool_calls %}{{ '<tool_call>\n' ~ ({'name': call.function.name, 'arguments': call.function.arguments} | tojson) ~ '\n</tool_call>' }}"
    "{{ '\n' if not loop.last }}{% endfor %}<|eot_id|>" + _LLAMA3_TURNS
)

EXAONE3 = (
    "{% for m in messages %}{{ '[|' ~ m.role ~ '|]' ~ m.content ~ ('\n' if m.role == 'user' else '[|endofturn|]\n') }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[|assistant|]' }}{% endif %}"
)
EXAONE_DEEP = (
    "{% for m in messages %}{{ '[|' ~ m.role ~ '|]' }}"
    "{{ m.content.split('</thought>')[-1].lstrip('\n') if m.role == 'assistant' else m.content }}"
    "{{ '\n' if m.role == 'user' else '[|endofturn|]\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[|assistant|]<thought>\n' }}{% endif %}"
)
_EXAONE4_CALLS = (
    "{% for call in m.tool_calls %}{% if call.function is defined %}{% set call = call.function %}{% endif %}"
    "{{ '<tool_call>' ~ ({'name': call.name, 'arguments': call.arguments} | tojson(ensure_ascii=False)) ~ '</tool_call>' }}"
    "{{ '\n' if not loop.last }}{% endfor %}"
)
EXAONE4 = (
    "{% if tools %}{{ '[|system|]\n# Available Tools' }}{% for t in tools %}{{ '\n<tool>' ~ (t | tojson) ~ '</tool>' }}{% endfor %}[|endofturn|]\n{% endif %}"
    "{% for m in messages %}{{ '[|' ~ m.role ~ '|]\n' }}{% if m.role == 'assistant' %}{% set content = m.content or '' %}"
    "{% set thought = m.reasoning_content or '' %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1].strip() %}{% endif %}"
    "{% if loop.last and thought %}{{ '<think>\n' ~ thought.strip() ~ '\n</think>\n\n' }}{% else %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ content }}{% if m.tool_calls %}{{ '\n' if content }}"
    + _EXAONE4_CALLS
    + "{% endif %}{{ '[|endofturn|]\n' }}"
    "{% elif m.role == 'tool' %}{{ '<tool_result>' ~ m.content ~ '</tool_result>[|endofturn|]\n' }}"
    "{% else %}{{ m.content ~ '[|endofturn|]\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '[|assistant|]\n' }}"
    "{% if enable_thinking is defined and enable_thinking is true %}{{ '<think>\n' }}{% else %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
K_EXAONE = (
    "{% if tools %}{{ '<|system|>\n# Tools' }}{% for t in tools %}{{ '\n<tool>' ~ (t | tojson) ~ '</tool>' }}{% endfor %}<|endofturn|>\n{% endif %}"
    "{% for m in messages %}{{ '<|' ~ m.role ~ '|>\n' }}{% if m.role == 'assistant' %}"
    "{{ '<think>\n' ~ (m.reasoning_content ~ '\n' if m.reasoning_content and loop.last else '\n') ~ '</think>\n\n' }}{{ m.content or '' }}"
    "{% if m.tool_calls %}{{ '\n' if m.content }}" + _EXAONE4_CALLS + "{% endif %}"
    "{% elif m.role == 'tool' %}{{ '<tool_result>' ~ m.content ~ '</tool_result>' }}{% else %}{{ m.content }}{% endif %}{{ '<|endofturn|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n<think>\n' }}{% if enable_thinking is defined and not enable_thinking %}{{ '\n</think>\n\n' }}{% endif %}{% endif %}"
)

HYPERCLOVAX = (
    "{{ '<|im_start|>tool_list\n' ~ (tools | tojson if tools else '') ~ '<|im_end|>\n' }}"
    "{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% if m.reasoning_content and loop.index0 > ns.last %}{{ '<|im_start|>assistant/think\n' ~ m.reasoning_content ~ '<|im_end|>\n' }}{% endif %}"
    "{% if m.content %}{{ '<|im_start|>assistant\n' ~ m.content ~ '<|im_end|>' }}{{ '\n' if m.tool_calls else '<|endofturn|>\n' }}{% endif %}"
    "{% if m.tool_calls %}{{ '<|im_start|>assistant -> tool/function_call\n[' }}{% for call in m.tool_calls %}"
    "{{ '{\"name\": \"' ~ call.function.name ~ '\", \"arguments\": ' ~ (call.function.arguments | tojson) ~ '}' ~ (', ' if not loop.last else '') }}"
    "{% endfor %}{{ ']<|im_end|><|stop|>\n' }}{% endif %}"
    "{% elif m.role == 'tool' %}{{ '<|im_start|>tool/function_call\n' ~ m.content ~ '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant' }}{% if force_reasoning is defined and force_reasoning is true %}{{ '/think\n' }}"
    "{% elif skip_reasoning is defined and skip_reasoning is true %}{{ '\n' }}{% endif %}{% endif %}"
)
HYPERCLOVAX_SEED = (
    "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>' }}"
    "{{ '<|endofturn|>\n' if m.role == 'assistant' else '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
AX4 = QWEN2.replace("<tool_call>\n{", "<tool_call>{").replace("}\n</tool_call>", "}</tool_call>")

SOLAR_OPEN = (
    "{% if tools %}<|begin|>system<|content|>{{ tools | tojson }}<|end|>{% endif %}{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% if m.reasoning and loop.last %}<|begin|>assistant<|think|>{{ m.reasoning }}<|end|>{% endif %}"
    "{% if m.content %}<|begin|>assistant<|content|>{{ m.content }}<|end|>{% endif %}"
    "{% if m.tool_calls %}<|begin|>assistant<|tool_calls|>{% for call in m.tool_calls %}"
    "<|tool_call:begin|>{{ call.id }}<|tool_call:name|>{{ call.function.name }}<|tool_call:args|>{{ call.function.arguments | tojson }}<|tool_call:end|>"
    "{% endfor %}<|calls|>{% endif %}"
    "{% elif m.role == 'tool' %}<|begin|>tool<|tool_response|>{{ m.content }}<|end|>"
    "{% else %}<|begin|>{{ m.role }}<|content|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|begin|>assistant{% if reasoning_effort is defined and reasoning_effort in ['low', 'minimal'] %}<|think|><|end|><|begin|>assistant{% endif %}{% endif %}"
)
SOLAR = (
    "{% for m in messages %}{{ '### ' ~ {'user': 'User', 'assistant': 'Assistant', 'system': 'System'}[m.role] ~ ':\n' ~ m.content ~ '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Assistant:\n' }}{% endif %}"
)

_MISTRAL_TURNS = (
    "{% elif m.role == 'tool' %}{{ '[TOOL_RESULTS]' ~ ({'content': m.content, 'call_id': m.tool_call_id} | tojson) ~ '[/TOOL_RESULTS]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' ~ m.content ~ '</s>' }}"
    "{% else %}{% if tools and loop.index0 == ns.last %}{{ '[AVAILABLE_TOOLS]' ~ (tools | tojson) ~ '[/AVAILABLE_TOOLS]' }}{% endif %}{{ '[INST] ' ~ m.content ~ '[/INST]' }}{% endif %}{% endfor %}"
)
_MISTRAL_LAST = (
    "{{ bos_token }}{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}"
)
MISTRAL = (
    _MISTRAL_LAST + "{% if m.tool_calls %}{{ '[TOOL_CALLS] [' }}{% for call in m.tool_calls %}"
    "{% if call.id is undefined or call.id | length != 9 %}{{ raise_exception('ids of 9 characters') }}{% endif %}"
    '{{ \'{"name": "\' ~ call.function.name ~ \'", "arguments": \' ~ (call.function.arguments | tojson) ~ \', "id": "\' ~ call.id ~ \'"}\' }}'
    "{{ ', ' if not loop.last }}{% endfor %}{{ ']</s>' }}" + _MISTRAL_TURNS
)
MISTRAL_ARGS = (
    _MISTRAL_LAST + "{% if m.tool_calls %}{{ m.content or '' }}{% for call in m.tool_calls %}"
    "{{ '[TOOL_CALLS]' ~ call.function.name ~ '[CALL_ID]' ~ call.id ~ '[ARGS]' ~ (call.function.arguments | tojson) }}{% endfor %}</s>"
    + _MISTRAL_TURNS
)  # fmt: skip

DEEPSEEK_R1 = (
    "{{ bos_token }}{{ tools | tojson if tools }}{% for m in messages %}{% if m.role == 'user' %}{{ '<｜User｜>' ~ m.content }}{% elif m.tool_calls %}"
    "{{ '<｜Assistant｜>' ~ (m.content or '') ~ '<｜tool▁calls▁begin｜>' }}{% for call in m.tool_calls %}{{ '\n' if not loop.first }}"
    "{{ '<｜tool▁call▁begin｜>' ~ call.type ~ '<｜tool▁sep｜>' ~ call.function.name ~ '\n```json\n' ~ (call.function.arguments | tojson) ~ '\n```<｜tool▁call▁end｜>' }}"
    "{% endfor %}{{ '<｜tool▁calls▁end｜><｜end▁of▁sentence｜>' }}"
    "{% elif m.role == 'assistant' %}{% set content = m.content %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{ '<｜Assistant｜>' ~ content ~ '<｜end▁of▁sentence｜>' }}{% else %}{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}"
)
GLM = (
    "[gMASK]<sop>{% if tools %}<|system|>\n{{ tools | tojson }}{% endif %}{% for m in messages %}{% if m.role == 'assistant' %}"
    "<|assistant|>\n{% if m.reasoning_content is string %}{{ '<think>' ~ m.reasoning_content ~ '</think>' }}{% else %}{{ '<think></think>' }}{% endif %}"
    "{{ '\n' ~ m.content if m.content }}{% for call in m.tool_calls or [] %}{{ '\n<tool_call>' ~ call.function.name ~ '\n' }}"
    "{% for k, v in call.function.arguments.items() %}{{ '<arg_key>' ~ k ~ '</arg_key>\n<arg_value>' ~ (v if v is string else v | tojson) ~ '</arg_value>\n' }}{% endfor %}"
    "{{ '</tool_call>' }}{% endfor %}{% elif m.role == 'tool' %}<|observation|>\n<tool_response>\n{{ m.content }}\n</tool_response>"
    "{% else %}{{ '<|' ~ m.role ~ '|>\n' ~ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{{ '\n<think></think>' if enable_thinking is defined and not enable_thinking }}{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """A template, its control tokens (those that end an answer first), and what is known of it.

    ``calls``: an opener of calls, "{" or "[" for calls that nothing announces; None for none. ``reasoning``:
    what begins and ends it.
    """

    source: str
    ends: tuple[str, ...]
    control: tuple[str, ...] = ()
    calls: str | None = None
    parallel: bool = True
    reasoning: tuple[str, str] | None = None
    bos: str = ""


_IM = ("<|im_start|>",)
_HEADERS = ("<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|python_tag|>", "<|begin_of_text|>")
_THINK = ("<think>", "</think>")
_SOLAR_TOKENS = tuple(
    f"<|{name}|>"
    for name in ("begin", "think", "content", "tool_calls", "tool_call:begin", "tool_call:name", "tool_call:args", "tool_call:end", "tool_response")
)  # fmt: skip

FAMILIES = {
    "qwen2.5": Family(QWEN2, ("<|im_end|>",), _IM, "<tool_call>"),
    "qwen3": Family(QWEN3, ("<|im_end|>",), _IM, "<tool_call>", reasoning=_THINK),
    "qwen3-thinking": Family(QWEN3_THINKING, ("<|im_end|>",), _IM, "<tool_call>", reasoning=_THINK),
    "qwen3-coder": Family(QWEN3_CODER, ("<|im_end|>",), _IM, "<tool_call>"),
    "llama-2": Family("{% for m in messages %}{{ '[INST] ' ~ m.content ~ ' [/INST]' if m.role == 'user' else ' ' ~ m.content ~ ' </s>' }}{% endfor %}", ("</s>",)),
    "llama-3": Family(LLAMA3, ("<|eot_id|>", "<|eom_id|>"), _HEADERS, "{", parallel=False, bos="<|begin_of_text|>"),
    "llama-pythonic": Family(LLAMA_PYTHONIC, ("<|eot_id|>",), _HEADERS, "["),
    "kanana-1.5": Family(KANANA, ("<|eot_id|>",), _HEADERS, "<function="),
    "kanana-2": Family(QWEN3, ("<|im_end|>",), _IM, "<tool_call>", reasoning=_THINK),
    "midm-2.0": Family(MIDM, ("<|eot_id|>",), _HEADERS, "<tool_call>"),
    "exaone-3.5": Family(EXAONE3, ("[|endofturn|]",)),
    "exaone-deep": Family(EXAONE_DEEP, ("[|endofturn|]",), reasoning=("<thought>", "</thought>")),
    "exaone-4.0": Family(EXAONE4, ("[|endofturn|]",), (), "<tool_call>", reasoning=_THINK),
    "k-exaone": Family(K_EXAONE, ("<|endofturn|>",), ("<|assistant|>", "<|user|>", "<|system|>"), "<tool_call>", reasoning=_THINK),
    "hyperclovax-seed": Family(HYPERCLOVAX_SEED, ("<|endofturn|>", "<|stop|>"), ("<|im_start|>", "<|im_end|>")),
    "hyperclovax-think": Family(
        HYPERCLOVAX, ("<|endofturn|>", "<|stop|>"), ("<|im_start|>", "<|im_end|>"), "->tool/function_call[",
        reasoning=("/think", "<|im_end|><|im_start|>assistant"),
    ),
    "a.x-3.1": Family(QWEN2, ("<|im_end|>",), _IM, "<tool_call>"),
    "a.x-4.0": Family(AX4, ("<|im_end|>",), _IM, "<tool_call>"),
    "solar-10.7b": Family(SOLAR, ("</s>",)),
    "solar-open": Family(
        SOLAR_OPEN, ("<|flush|>", "<|calls|>"), ("<|end|>", *_SOLAR_TOKENS), "<|tool_calls|><|tool_call:begin|>",
        reasoning=("<|think|>", "<|end|><|begin|>assistant"),
    ),
    "mistral": Family(MISTRAL, ("</s>",), ("[INST]", "[/INST]", "[TOOL_CALLS]"), "[TOOL_CALLS][", bos="<s>"),
    "mistral-args": Family(MISTRAL_ARGS, ("</s>",), ("[INST]", "[/INST]", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"), "[TOOL_CALLS]", bos="<s>"),
    "deepseek-r1": Family(
        DEEPSEEK_R1, ("<｜end▁of▁sentence｜>",), ("<｜User｜>", "<｜Assistant｜>", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"),
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>", reasoning=_THINK,
    ),
    "glm-4.5": Family(GLM, ("<|user|>", "<|observation|>"), ("<|assistant|>", "<|system|>"), "<tool_call>", reasoning=_THINK),
}  # fmt: skip
