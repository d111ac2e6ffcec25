# SPDX-License-Identifier: Apache-2.0
"""What ``/set`` takes, and what answers are asked for with."""

from __future__ import annotations

import pytest

from lumen_mlir.cli.repl.settings import NAMES, Settings
from lumen_mlir.errors import LumenError
from lumen_mlir.generate.sampling import Sampling


@pytest.mark.parametrize(
    ("line", "said", "request_"),
    [
        ("temperature 0.5", "temperature 0.5", {"temperature": 0.5}),
        ("parameter temperature 1", "temperature 1", {"temperature": 1.0}),
        ("temp 0.5", "temperature 0.5", {"temperature": 0.5}),
        ("top-k 40", "top_k 40", {"top_k": 40}),
        ("parameter num_predict 42", "max_tokens 42", {"max_tokens": 42}),
        ("max_tokens -1", "max_tokens -1", {"max_tokens": None}),
        ("seed 7", "seed 7", {"seed": 7}),
        ('stop "\\nUser:" END', "stop '\\nUser:' 'END'", {"stop": ["\nUser:", "END"]}),
        ("think off", "think off", {"enable_thinking": False}),
        ("think", "think on", {"enable_thinking": True}),
        ("nothink", "think off", {"enable_thinking": False}),
        ("special OFF", "special off", {"special": False}),
        ("ignore_eos yes", "ignore_eos on", {"ignore_eos": True}),
        ("verbose", "verbose on", {}),
        ("quiet", "verbose off", {}),
        ("history off", "history off", {}),
        ("temperature", "temperature default", {}),
        ("max_tokens", "max_tokens -1 (default)", {}),
        ("temperature default", "temperature default", {}),
    ],
)
def test_change(line, said, request_):
    settings = Settings()
    assert settings.change(line) == said
    assert settings.request() == request_


def test_default_undoes_a_change():
    settings = Settings({"temperature": 0, "stop": ["a"], "top_k": None})
    assert settings.request() == {"temperature": 0.0, "stop": ["a"]}
    settings.change("temperature default")
    settings.change("stop default")
    assert settings.request() == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("temperature warm", "temperature is 'warm'; expected a number at least 0$"),
        ("temperature -1", "temperature is -1; expected a number at least 0"),
        ("top_p 2", "top_p is 2; expected a number at least 0 and at most 1"),
        ("top_k 1.5", "top_k is 1.5; expected a whole number of at least -1"),
        ("max_tokens -2", "max_tokens is -2; expected a whole number of at least -1"),
        ("max_tokens many", "max_tokens is 'many'; expected a whole number"),
        ("seed x", "seed is 'x'; expected a whole number"),
        ("think maybe", "^think: on or off was expected, not 'maybe'"),
        ('stop "open', "^stop: .*no closing quotation"),
        ("temprature 1", "there is no setting 'temprature'; did you mean 'temperature'[?]$"),
        ("x 1", "there is no setting 'x'; there are temperature, top_k, "),
        ("num_ctx 4096", "num_ctx cannot be set: the context is fixed when a model is opened"),
        ("format json", "format cannot be set: answers have no forced form"),
    ],
)
def test_refused(line, message):
    settings = Settings({"top_k": 3})
    with pytest.raises(LumenError, match=message):
        settings.change(line)
    assert settings.values == {"top_k": 3}


def test_whose_a_value_is():
    sampling = Sampling(temperature=0.6, from_model=("temperature",))
    settings = Settings({"top_k": 5})
    shown = {name: settings.shown(name, sampling) for name in NAMES}
    assert shown["temperature"] == "0.6 (the model's own)"
    assert (shown["top_k"], shown["top_p"]) == ("5", "0.95 (default)")
    assert (shown["think"], shown["special"]) == ("default", "on (default)")
