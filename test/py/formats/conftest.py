# SPDX-License-Identifier: Apache-2.0
"""Fixtures ``fmt`` (every built-in format) and ``quantized`` (without the float types)."""

import pytest

from lumen_mlir import formats


def pytest_generate_tests(metafunc):
    for fixture, floats in (("fmt", True), ("quantized", False)):
        if fixture in metafunc.fixturenames:
            names = [name for name in formats.names() if floats or not formats.get(name).is_float]
            metafunc.parametrize(fixture, names, indirect=True)


@pytest.fixture
def fmt(request):
    return formats.get(request.param)


@pytest.fixture
def quantized(request):
    return formats.get(request.param)
