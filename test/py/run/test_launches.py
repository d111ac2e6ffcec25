# SPDX-License-Identifier: Apache-2.0
"""A step as launches has the bits of a step as one kernel, on the emulator or on this machine's GPU."""

from __future__ import annotations

import numpy as np
import pytest
from emulated import EMULATED_GPU, EMULATED_LAUNCHES

from lumen_mlir.data import embedded_model_path
from lumen_mlir.models import Model
from lumen_mlir.run.executor import Executor, Part
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.storage.cache import Cache


@pytest.mark.gpu
def test_two_ways_have_the_same_bits(tmp_path):
    """Of single tokens, and of many at once."""
    model, cache = Model.open(embedded_model_path()), Cache(tmp_path)
    found = []
    for target in (EMULATED_GPU, EMULATED_LAUNCHES):
        options = SessionOptions(target=target.name, context=64, chunk=32)
        executor, begin = Executor(model, options, cache=cache), 0
        sequence = executor.open()
        for length in (1, 17, 1):
            out = np.empty((1, model.config.vocabulary), np.float32)
            tokens = np.arange(begin + 1, begin + length + 1, dtype=np.int32)
            executor.run([Part(sequence, tokens, begin, length - 1)], out)
            found.append(out)
            begin += length
    for one, many in zip(found[:3], found[3:], strict=True):
        np.testing.assert_array_equal(one, many)
