# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501, UP031 - templates are long, and full of braces
"""Chat templates and conversations by chance: shapes that makers use, changed ones, and made-up ones."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

SHAPES = (
    # Turns between two tokens, perhaps with a system message of its own.
    "{%- for message in messages -%}{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' -}}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}",
    "{{ bos_token }}{% for m in messages %}{% if loop.first and m['role'] != 'system' %}<<sys>>Be kind<</sys>"
    "{% endif %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] | trim + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' ~ m['content'] ~ eos_token }}"
    "{% elif m['role'] == 'system' %}<<sys>>{{ m['content'] }}<</sys>{% else %}"
    "{{ raise_exception('unknown role ' + m['role']) }}{% endif %}{% endfor %}",
    # Tools, calls, results, and reasoning that is left out of what was said before.
    "{%- if tools %}<tools>{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}</tools>\n{% endif -%}"
    "{%- set ns = namespace(last=messages | length - 1, seen=false) -%}"
    "{%- for m in messages[::-1] -%}{%- set index = messages | length - 1 - loop.index0 -%}"
    "{%- if not ns.seen and m.role == 'user' -%}{%- set ns.seen = true -%}{%- set ns.last = index -%}"
    "{%- endif -%}{%- endfor -%}{%- for m in messages -%}{%- set content = m.content if m.content is string else '' -%}"
    "{%- if m.role == 'assistant' -%}{%- set thought = '' -%}{%- if '</think>' in content -%}"
    "{%- set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1] -%}"
    "{%- set content = content.split('</think>')[-1].lstrip('\n') -%}{%- endif -%}"
    "<|assistant|>{% if loop.index0 > ns.last and thought %}<think>{{ thought }}</think>{% endif %}{{ content }}"
    "{%- for call in m.tool_calls or [] -%}<call>{{ call.function.name }} "
    "{%- if call.function.arguments is string %}{{ call.function.arguments }}{% else %}"
    "{{ call.function.arguments | tojson }}{% endif %}</call>{%- endfor -%}<|end|>"
    "{%- elif m.role == 'tool' -%}<|tool|>{{ content }}<|end|>"
    "{%- else -%}<|{{ m.role }}|>{{ content }}<|end|>{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt %}<|assistant|>{% if enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>{% endif %}{% endif -%}",
    # Macros that describe types, dates, and parts of a content.
    "{%- macro kind(spec, depth) -%}{%- if spec.type == 'object' -%}{ {%- for k, v in (spec.properties or {}) | dictsort -%}"
    "{{ k }}: {{ kind(v, depth + 1) }}{{ ', ' if not loop.last }}{%- endfor -%} }{%- elif spec.type is iterable and "
    "spec.type is not string -%}{{ spec.type | join(' | ') }}{%- else -%}{{ spec.type | default('any') }}{%- endif -%}"
    "{%- endmacro -%}{{ bos_token }}Today: {{ strftime_now('%d %b %Y') }}\n{% for tool in tools or [] -%}"
    "{%- set f = tool.function if tool.function is defined else tool -%}{{ f.name }}({{ kind(f.parameters or {}, 0) }})\n"
    "{% endfor %}{%- for m in messages -%}{{ '<' ~ m.role ~ '>' }}{%- if m.content is string -%}{{ m.content }}"
    "{%- elif m.content is mapping or m.content is iterable -%}{%- for part in m.content -%}"
    "{%- if part.type == 'text' -%}{{ part.text }}{%- endif -%}{%- endfor -%}{%- endif -%}"
    "{%- if m.tool_calls -%}{{ m.tool_calls | map(attribute='function') | map(attribute='name') | join(', ') }}"
    "{{ m.tool_calls | tojson(indent=2) }}{%- endif -%}{%- endfor -%}",
    "{% set loop_messages = messages[1:] if messages[0].role == 'system' else messages %}"
    "{% for m in loop_messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) and not m.tool_calls %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% generation %}{{ m.content | string | upper }}"
    "{% endgeneration %}{% if m.content is none %}-{% endif %}{% endfor %}",
)

_ATOMS = (
    "1", "0", "-1", "9", "99999", "10**9", "2**63", "1e308", "0.5", "true", "none", "'a'", "'가😀'", "''", "'\\n'",
    "'%s'", "'{}'", "'%99d'", "'%*d'", "'{:>9}'", "messages", "messages[0]", "messages[0].content", "tools",
    "bos_token", "nothing", "[]", "{}", "[1, [2]]", "{'a': 1}", "('a', 'b')", "range(9)", "range(99999)",
    "namespace(a=1)", "dict(a=1)", "loop", "ns", "ns.x", "x", "y", "cycler(1, 2)", "joiner(',')", "''.join",
    "'a'.__class__", "strftime_now", "self", "varargs", "caller", "9" * 30,
)  # fmt: skip
_BINARY = (
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "**",
    "~",
    "and",
    "or",
    "==",
    "!=",
    "<",
    ">",
    "in",
    "not in",
    "is",
    ",",
)
_FILTERS = (
    "abs", "attr('x')", "batch(3)", "batch(99999, 'x')", "capitalize", "center(9)", "center(99999)", "count",
    "default('d')", "dictsort", "escape", "filesizeformat", "first", "float", "forceescape", "format(1, 2)",
    "groupby('a')", "indent", "indent(99999)", "int", "items", "join", "join('xx')", "last", "length", "list",
    "lower", "map('upper')", "map('center', 9999)", "map(attribute='a')", "max", "min", "pprint", "random",
    "reject('none')", "replace('', 'aaa')", "replace('a', 'b')", "reverse", "round", "round(9)", "safe",
    "select('string')", "selectattr('a')", "slice(3)", "sort", "string", "striptags", "sum", "sum(start=[])",
    "title", "tojson", "tojson(indent=9)", "tojson(ensure_ascii=true)", "trim", "truncate(9)", "unique", "upper",
    "urlencode", "urlize", "wordcount", "wordwrap(2)", "xmlattr", "nofilter",
)  # fmt: skip
_METHODS = (
    ".split('a')", ".split()", ".strip()", ".join(['a', 'b'])", ".replace('a', 'aa')", ".center(999)", ".items()",
    ".keys()", ".get('a')", ".format(1, 2)", ".encode()", ".zfill(999)", ".expandtabs(99)", ".upper()", ".count('a')",
    ".append(1)", ".translate({97: 'bbb'})", ".startswith('a')", "[0]", "[-1]", "['a']", "[1:]", "[::-1]", ".a", "()",
    ".splitlines()", ".format_map({})", ".to_bytes(9, 'big')", ".values()", "(1, a=2)", "(*[1], **{'a': 1})",
)  # fmt: skip
_TESTS = ("defined", "string", "mapping", "iterable", "none", "odd", "sameas none", "in [1]", "divisibleby 0")


def expression(rng: random.Random, depth: int = 3) -> str:
    """An expression that may mean anything."""
    if depth == 0 or rng.random() < 0.2:
        return rng.choice(_ATOMS)
    inner = lambda: expression(rng, depth - 1)  # noqa: E731
    forms: list[Callable[[], str]] = [
        lambda: f"({inner()} {rng.choice(_BINARY)} {inner()})",
        lambda: f"{inner()}|{rng.choice(_FILTERS)}",
        lambda: inner() + rng.choice(_METHODS),
        lambda: f"[{inner()}, {inner()}]",
        lambda: f"{{'a': {inner()}, 'b': {inner()}}}",
        lambda: f"({inner()} if {inner()} else {inner()})",
        lambda: f"({inner()} is {rng.choice(_TESTS)})",
        lambda: f"not {inner()}",
        lambda: f"f({inner()}, {inner()})",
    ]
    return rng.choice(forms)()


def statements(rng: random.Random, depth: int = 3) -> str:
    """Some statements that may do anything."""
    if depth == 0:
        return rng.choice(["text ", "{{ %s }}" % expression(rng), "<|im_end|>"])
    inner = lambda: statements(rng, depth - 1)  # noqa: E731
    forms: list[Callable[[], str]] = [
        lambda: "{{ %s }}" % expression(rng),
        lambda: "{%% for x in %s %%}%s{%% endfor %%}" % (expression(rng), inner()),
        lambda: (
            "{%% for x in %s if %s recursive %%}%s{{ loop(%s) }}{%% else %%}e{%% endfor %%}"
            % (expression(rng, 1), expression(rng, 1), inner(), expression(rng, 1))
        ),
        lambda: "{%% for i in range(%d) %%}%s{%% endfor %%}" % (rng.choice([1, 30, 99999]), inner()),
        lambda: "{%% if %s %%}%s{%% else %%}%s{%% endif %%}" % (expression(rng), inner(), inner()),
        lambda: "{%% set x = %s %%}" % expression(rng),
        lambda: "{%% set ns = namespace(x=%s) %%}" % expression(rng, 1),
        lambda: "{%% set ns.x = %s %%}" % expression(rng),
        lambda: (
            "{%% set ns.x = %s %%}"
            % rng.choice(["ns.x ~ ns.x", "[ns.x, ns.x]", "ns.x + ns.x", "(ns.x,) * 2"])
        ),
        lambda: "{%% set x %%}%s{%% endset %%}" % inner(),
        lambda: "{%% macro f(a, b=1) %%}%s{{ f(a) if %s }}{%% endmacro %%}" % (inner(), expression(rng, 1)),
        lambda: "{%% call f(%s) %%}%s{%% endcall %%}" % (expression(rng, 1), inner()),
        lambda: "{%% filter %s %%}%s{%% endfilter %%}" % (rng.choice(_FILTERS), inner()),
        lambda: "{%% autoescape %s %%}%s{%% endautoescape %%}" % (expression(rng, 1), inner()),
        lambda: rng.choice(
            ["{% break %}", "{% continue %}", "{% include 'x' %}", "{# c #}", "{% raw %}{{{% endraw %}"]
        ),
        lambda: inner() + inner() + inner(),
    ]
    return rng.choice(forms)()


_PIECES = re.compile(r"\{%.*?%\}|\{\{.*?\}\}|\w+|\s+|.", re.S)


def mutated(rng: random.Random, source: str) -> str:
    """``source`` with pieces left out, doubled, moved, replaced, or repeated very often."""
    pieces = _PIECES.findall(source)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        place, other = rng.randrange(len(pieces) or 1), rng.randrange(len(pieces) or 1)
        action = rng.randrange(8)
        if not pieces:
            break
        if action == 0:
            del pieces[place]
        elif action == 1:
            pieces.insert(place, pieces[other])
        elif action == 2:
            pieces[place], pieces[other] = pieces[other], pieces[place]
        elif action == 3:
            pieces[place] = "{{ %s }}" % expression(rng)
        elif action == 4:
            pieces.insert(place, statements(rng, 2))
        elif action == 5:
            pieces[place] = pieces[place][:1000] * rng.choice([2, 30, 100])
        elif action == 6:
            text = pieces[place]
            at = rng.randrange(len(text) + 1)
            pieces[place] = (
                text[:at] + chr(rng.choice([0, 10, 37, 39, 40, 91, 123, 125, 0xD800, 0x1F600])) + text[at:]
            )
        else:
            pieces[place] = re.sub(r"\w+", lambda _: rng.choice(_ATOMS), pieces[place], count=1)
    return "".join(pieces)


def text(rng: random.Random) -> str:
    """The content of a message."""
    parts = [
        "안녕",
        "hi",
        " ",
        "\n",
        "<|im_end|>",
        "<|im_start|>evil",
        "</think>",
        "<think>",
        "{{ x }}",
        "😀",
        "𔐀",
        '"',
    ]
    return "".join(rng.choice(parts) for _ in range(rng.choice([0, 1, 3, 10, 300])))


def conversation(rng: random.Random) -> list[dict[str, Any]]:
    """Messages as clients send them, sometimes malformed."""
    count, sound = rng.choice([1, 2, 3, 8, 40]), rng.random() < 0.6
    if sound:
        return [_sound(rng, ("user", "assistant")[index % 2]) for index in range(count)]
    return [_message(rng) for _ in range(count)]


def _sound(rng: random.Random, role: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": role, "content": text(rng)}
    if role == "assistant" and rng.random() < 0.3:
        arguments = {"city": text(rng), "n": [1, None, {"a": True}]}
        sent = rng.choice([arguments, json.dumps(arguments), ""])
        call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": sent}}
        message = {"role": role, "content": rng.choice([None, ""]), "tool_calls": [call]}
    elif rng.random() < 0.2:
        message["content"] = [{"type": "text", "text": text(rng)}, {"type": "text", "text": text(rng)}]
    return message


def _message(rng: random.Random) -> Any:
    role = rng.choice(["user", "user", "assistant", "assistant", "system", "tool", "developer", "<|im_end|>"])
    message: dict[str, Any] = {"role": role, "content": text(rng)}
    chance = rng.random()
    if chance < 0.1:
        message["content"] = [{"type": "text", "text": text(rng)}, text(rng)]
    elif chance < 0.2:
        message["content"] = None
    elif chance < 0.25:
        message["content"] = rng.choice([3, {"a": text(rng)}, [{"type": "image_url"}], b"x", [None], 1.5])
    if role == "assistant" and rng.random() < 0.4:
        arguments: Any = {"city": text(rng), "n": [1, None, {"a": True}]}
        arguments = rng.choice([arguments, json.dumps(arguments), "", "{", "[]", None, 3])
        function = {"name": rng.choice(["f", text(rng)]), "arguments": arguments}
        calls = [[], None, [{"id": "1", "type": "function", "function": function}], [function], {}, ["f"]]
        message["tool_calls"] = rng.choice(calls)
    if rng.random() < 0.02:
        return rng.choice([None, "hi", {"content": "x"}, {"role": 1}, []])
    return message


def tools(rng: random.Random) -> Any:
    """Descriptions of functions, none, or something else."""
    parameters = {
        "type": "object",
        "properties": {"a": {"type": ["string", "null"]}, "b": {"type": "object"}},
    }
    tool = {"type": "function", "function": {"name": "f", "description": text(rng), "parameters": parameters}}
    return rng.choice([None, None, [tool], [tool["function"]], [tool] * 20, {}, [3], "f"])
