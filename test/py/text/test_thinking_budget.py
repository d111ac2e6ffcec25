# SPDX-License-Identifier: Apache-2.0
"""Reasoning ends when its budget is used up, and what was thought goes back where a template wants it."""

from __future__ import annotations

from functools import cache

import pytest
from answer_templates import FAMILIES, SOLAR_OPEN
from answer_vocabulary import ByteVocabulary

from lumen_mlir.text.answer_format import AnswerFormat, ThinkingBudget
from lumen_mlir.text.answers.deltas import Answer
from lumen_mlir.text.chat import ChatTemplate

QUESTION = {"role": "user", "content": "?"}


@cache
def opened(name):
    family = FAMILIES[name]
    vocabulary = ByteVocabulary(family)
    template = ChatTemplate(family.source, family.bos, family.ends[0])
    return template, vocabulary, AnswerFormat.of(template, vocabulary)


def generated(name, script, budget, **variables):
    """What a model says that would go on with ``script``, and whether its reasoning was ended."""
    template, vocabulary, format = opened(name)
    parser = format.parser(template.render([QUESTION], **variables))
    budget = ThinkingBudget(format.closing_tokens(vocabulary), parser, budget)
    deltas, pending, held, ended = [], vocabulary.encode(script), [], False

    def fed(ids):
        held.extend(ids)
        text = vocabulary.decode(held)
        if text.endswith("\ufffd"):
            return False
        held.clear()
        deltas.extend(parser.feed(text))
        return True

    while pending or not ended:
        forced = budget.forced()
        if forced:
            assert not held
            fed(forced)
            ended, pending = True, vocabulary.encode("said")
        elif pending:
            budget.drawn(fed([pending.pop(0)]))
        else:
            break
    return Answer.of(deltas + parser.finish()), ended


@pytest.mark.parametrize(
    ("name", "variables", "opening"),
    [
        ("qwen3", {}, "<think>\n"),
        ("qwen3-thinking", {}, ""),
        ("exaone-deep", {}, ""),
        ("exaone-4.0", {"enable_thinking": True}, ""),
        ("hyperclovax-think", {}, "/think\n"),
        ("solar-open", {}, "<|think|>"),
        ("deepseek-r1", {}, ""),
    ],
)
def test_budgets(name, variables, opening):
    # Bytes are tokens here: letters of Korean have three.
    answer, ended = generated(name, f"{opening}가나다라마바사", 8, **variables)
    assert ended and answer.content == "said" and answer.reasoning == "가나다"
    answer, ended = generated(name, f"{opening}가나다라마바사", 0, **variables)
    assert ended and (answer.reasoning, answer.content) == ("", "said")
    end = opened(name)[2].reasoning.closing
    answer, ended = generated(name, f"{opening}가{end}나", 20, **variables)
    assert not ended and (answer.reasoning, answer.content) == ("가", "나")


def test_a_model_that_does_not_think():
    answer, ended = generated("qwen2.5", "가나다", 1)
    assert not ended and answer.content == "가나다"
    assert opened("qwen2.5")[2].closing_tokens(None) == []


@pytest.mark.parametrize("sent", ["reasoning_content", "reasoning", "thinking"])
@pytest.mark.parametrize("name", ["qwen3", "solar-open", "k-exaone", "hyperclovax-think"])
def test_what_was_thought_goes_back(name, sent):
    """Whatever a client calls it; the template has one name for it."""
    template, _, format = opened(name)
    answer = {"role": "assistant", "content": "b", sent: "음 a"}
    prompt = template.render([QUESTION, answer], add_generation_prompt=False)
    assert f"{format.reasoning.opening}음 a{format.reasoning.closing}" in prompt


def test_templates_without_a_place_for_it():
    source = "{% for m in messages %}{{ m.content }}{{ m.reasoning_text }}{% endfor %}"
    assert ChatTemplate(source).render([{"role": "assistant", "content": "a", "reasoning": "b"}]) == "a"
    # What a user's message has beside its content is left as it is.
    asked = {"role": "user", "content": "a", "thinking": "b"}
    both = "{% for m in messages %}{{ m.content }}{{ m.thinking }}{{ m.reasoning }}{% endfor %}"
    assert ChatTemplate(both).render([asked]) == "ab"
    assert "reasoning_content" not in SOLAR_OPEN
