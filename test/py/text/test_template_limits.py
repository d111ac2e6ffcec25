# SPDX-License-Identifier: Apache-2.0
"""Templates that would run forever, fill the memory, or become code that Python refuses: one clear error."""

from __future__ import annotations

import re
import threading

import pytest

from lumen_mlir.errors import LumenError
from lumen_mlir.text import template_limits
from lumen_mlir.text.chat import ChatTemplate

MESSAGES = [{"role": "user", "content": "hi"}]
GROW = "{%% set n = namespace(x='ab', y='ab') %%}{%% for i in range(60) %%}%s{%% endfor %%}{{ n.x }}"


def failure(source: str) -> str:
    with pytest.raises(LumenError) as caught:
        ChatTemplate(source).render(MESSAGES)
    message = str(caught.value)
    assert message.startswith("chat template: ") and "\n" not in message
    return message


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in [1] %}" * 30 + "{% endfor %}" * 30,
        "{% if a %}" * 120 + "{% endif %}" * 120,
        "{% break %}",
        "{{ f(a=1, a=2) }}",
        "{{ " + "-" * 240 + "x }}",
        "{{ " + " + ".join(["a"] * 200) + " }}",
        "{{ " + "9" * 5000 + " }}",
        "{{ a" + "()" * 300 + " }}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ a" + "|string" * 3000 + " }}",
        "{{ f(" + ",".join(["a"] * 20000) + ") }}",
        "{% set %}",
        "{{ '" + "a" * (2 << 20) + "' }}",
    ],
)
def test_sources_that_do_not_compile(source):
    with pytest.raises(LumenError, match="^chat template: "):
        ChatTemplate(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 10**9 }}",
        "{% set x = [1] * 10**9 %}",
        "{{ 'a'.center(10**9) }}",
        "{{ 'a'.encode().center(10**9) }}",
        "{{ ('\\t' * 9).expandtabs(10**8) }}",
        "{{ (1).to_bytes(10**9, 'big') }}",
        "{{ ('a' * 10**6).translate({97: 'b' * 10**6}) }}",
        "{{ ('a' * 10**6).join(range(10**5) | map('string')) }}",
        "{{ ('a\n' * 10**5) | indent(10**5) }}",
        "{{ ('가' * 10**7) | list }}",
        "{{ ('a' * 10**7) | replace('a', 'aaa') }}",
        "{{ ('a' * 10**7).replace('', 'aa') }}",
        "{{ range(10**5) | map('center', 10**5) | join }}",
        "{{ range(10**5) | map('center', 10**5) | list }}",
        "{{ {}.fromkeys(range(10**5), 'a' * 999) }}",
        "{{ ([range(999) | list] * 9999) | sum(start=[]) }}",
        "{% for i in range(10**5) %}{{ 'abc' * 99 }}{% endfor %}",
        "{% set x %}{% for i in range(10**5) %}{{ 'a' * 999 }}{% endfor %}{% endset %}",
        "{% set x = 'a' * 10**7 %}{% macro f(n) %}{% set y = x[1:] %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        GROW % "{% set n.x = n.x ~ n.x %}",
        GROW % "{% set n.x = n.x + n.x %}",
        GROW % "{% set n.x = [n.x, n.x] | join %}",
        GROW % "{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}",
        # Little memory, but endless as text, or to compare.
        GROW % "{% set n.x = [n.x, n.x] %}",
        GROW % "{% set n.x = (n.x, n.x) %}",
        GROW % "{% set n.x = {'a': n.x, 'b': n.x} %}",
        GROW % "{% set n.x = dict(a=n.x, b=n.x) %}",
        GROW % "{% set n.x = namespace(a=n.x, b=n.x) %}",
        GROW % "{% set n.x = ([n.x] * 2) %}",
        GROW % "{% set n.x, n.y = [n.x, n.x], [n.y, n.y] %}{% if n.x == n.y %}{% endif %}",
        "{% macro f(n) %}{{ f(n, varargs, varargs) }}{% endmacro %}{{ f(1) }}",
    ],
)
def test_too_much(source, monkeypatch):
    # On a slow machine its time would be up first.
    monkeypatch.setattr(template_limits, "SECONDS", 60.0)
    assert "makes more than 16 MB" in failure(source)


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("{{ '%999999999d' % 1 }}", "widths of 999999999"),
        ("{{ '%*d' % (999999999, 1) }}", "widths of"),
        ("{{ '%999999999d' | format(1) }}", "widths of"),
        ("{{ '{:>999999999}'.format(1) }}", "widths of"),
        ("{{ '{:>{}}'.format(1, 999999999) }}", "widths of"),
        ("{{ '{a:>999999999}'.format_map({'a': 1}) }}", "widths of"),
        ("{{ 'a' | center(10**9) }}", "filter 'center' is given 1000000000"),
        ("{{ [1] | batch(10**9, 1) | list }}", "filter 'batch' is given"),
        ("{{ 1.5 | round(10**9, 'ceil') }}", "filter 'round' is given"),
        ("{{ [[1]] | tojson(indent=65) }}", "more than 64 characters"),
        ("{{ ('a' * 10**6) | wordwrap(1) }}", "filter 'wordwrap' is given"),
        ("{{ (range(99999) | list) | pprint }}", "filter 'pprint' is given"),
        ("{{ ('9' * 10**6) | int }}", "a number of 1000000 digits"),
        ("{{ strftime_now('%99999999Y') }}", "is no form for a date"),
        ("{{ 2 ** 999999999 }}", "more than 16384 bits"),
        (GROW % "{% set n.x = 3 if i == 0 else n.x * n.x %}", "more than 16384 bits"),
        ("{{ lipsum(n=10**7) }}", "'lipsum' is undefined"),
    ],
)
def test_too_wide(source, part):
    assert part in failure(source)


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% for a in range(9999) %}{% for b in range(9999) if b < 0 %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% for x in [1, 1] recursive %}{% if loop.depth < 60 %}{{ loop([1, 1]) }}{% endif %}{% endfor %}",
        "{% set x = 'a' * 10**7 %}{% for a in range(9999) %}{{ x.count('b') }}{% endfor %}",
        "{% set x = 'a' * 10**7 %}{% for a in range(9999) if 'b' in x %}{{ a }}{% endfor %}",
        "{% set x = 'a' * 10**7 %}" + "{% if 'ab' in x %}{% endif %}" * 99,
        "{% set x = 'a' * 10**7 %}{{ [" + "'ab' is in x, " * 99 + "] }}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("in_thread", [False, True])
def test_too_long(monkeypatch, source, in_thread):
    monkeypatch.setattr(template_limits, "SECONDS", 0.04)
    found = []
    if in_thread:
        thread = threading.Thread(target=lambda: found.append(failure(source)))
        thread.start()
        thread.join()
    else:
        found.append(failure(source))
    assert re.search("the template takes longer than 0.0[24] s", found[0])  # compiling counts, too


def test_compiling_too_long(monkeypatch):
    monkeypatch.setattr(template_limits, "SECONDS", 0.04)
    with pytest.raises(LumenError, match="takes longer than 0.02 s"):
        ChatTemplate("{{ a }}" * 9999)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ 'a' ~ 1 ~ none ~ [1, 'b'] }}", "a1None[1, 'b']"),
        ("{% autoescape true %}{{ '<' ~ ('>' | safe) }}{% endautoescape %}", "&lt;>"),
        ("{{ [1, 2, 3][1:] }}{{ 'abc'[::-1] }}{{ (1, 2)[0] }}", "[2, 3]cba1"),
        ("{% set a, b = 1, [2] %}{{ {'x': b, 'y': (a,)} }}", "{'x': [2], 'y': (1,)}"),
        ("{% macro f(x) %}<{{ x }}{{ caller() if caller }}>{% endmacro %}{{ f(1) }}", "<1>"),
        ("{% macro f(x) %}<{{ x }}{{ caller() }}>{% endmacro %}{% call f(2) %}c{% endcall %}", "<2c>"),
        ("{{ ['a', 1] | join('-') }}{{ [{'n': 1}, {'n': 2}] | join(',', attribute='n') }}", "a-11,2"),
        ("{{ [1, 2.5] | sum }}{{ [[1], [2]] | sum(start=[]) }}{{ [{'n': 1}] | sum('n') }}", "3.5[1, 2]1"),
        ("{{ '%05.1f|%s' % (1.25, 'x') }}{{ '{:>4}'.format(1) }}", "001.2|x   1"),
        ("{{ '%d' % 1700000000 }}", "1700000000"),
        ("{% set n = namespace(s='') %}{% for i in range(3) %}{% set n.s = n.s ~ i %}{% endfor %}{{ n.s }}",
         "012"),
        ("{% for a in [1, [2, [3]]] recursive %}{{ loop(a) if a is iterable else a }}{% endfor %}", "123"),
        ("{{ ' a b '.split() }}{{ 'a,b'.split(',') | join('+') }}{{ ', '.join(['x', 'y']) }}",
         "['a', 'b']a+bx, y"),
        ("{{ {'b': 1, 'a': 2} | dictsort }}{{ [3, 1] | sort }}{{ {'a': 1} | items | list }}",
         "[('a', 2), ('b', 1)][1, 3][('a', 1)]"),
        ("{{ 2 ** 10 }}{{ 7 // 2 }}{{ 7 % 4 }}{{ 'ab' * 2 }}{{ -3 }}{{ 2 * 1.5 }}", "102433abab-33.0"),
        ("{{ 'x' | center(5) | replace(' ', '.') }}{{ 'a\nb' | indent(2) }}", "..x..a\n  b"),
        ("{{ x is defined }}{{ x | default('d') }}{{ x }}", "Falsed"),
    ],
)  # fmt: skip
def test_what_templates_mean_stays(source, expected):
    assert ChatTemplate(source).render(MESSAGES) == expected


def test_a_slow_template_is_not_tried_for_long(monkeypatch):
    monkeypatch.setattr(template_limits, "SECONDS", 0.08)
    template = ChatTemplate("{% for i in range(10**5) %}{{ messages[0].content }}{% set x = 1 %}{% endfor %}")
    times = []
    monkeypatch.setattr(
        template._habits, "_render", lambda *given: times.append(1) or template._rendered(*given)
    )
    call = {"role": "assistant", "tool_calls": [{"name": "f"}]}
    with pytest.raises(LumenError, match="takes longer than"):
        template.render([*MESSAGES, call])
    assert len(times) <= 2


def test_python_does_not_warn(recwarn):
    ChatTemplate("{{ (1)[1:] }}")
    assert not recwarn.list


def test_long_conversations():
    """Templates as they are, with as much as a context holds."""
    messages = [{"role": role, "content": "word " * 500} for role in ("user", "assistant")] * 150
    source = (
        "{% set rest = messages[1:] %}{% for m in messages %}{% set content = m.content | trim %}"
        "{{ '<' + m.role + '>' + content + '\\n' }}"
        "{{ messages[loop.index0:] | selectattr('role', 'equalto', 'x') | list }}"
        "{% if '</t>' in content %}{{ content.split('</t>')[-1] }}{% endif %}{% endfor %}"
    )
    assert ChatTemplate(source).render(messages).count("<user>") == 150
