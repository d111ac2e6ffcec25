# SPDX-License-Identifier: Apache-2.0
# Written by tools/stubs.py.

from collections.abc import Sequence
from typing import Annotated

import numpy
from numpy.typing import NDArray

import lumen_mlir._mlir.team

class Sampler:
    def __init__(
        self,
        temperature: float,
        top_k: int,
        typical_p: float,
        top_p: float,
        min_p: float,
        repeat_penalty: float,
        repeat_last: int,
        presence_penalty: float,
        frequency_penalty: float,
        seed: int,
        logit_bias: Sequence[tuple[int, float]],
    ) -> None: ...
    def accept(
        self,
        tokens: Annotated[NDArray[numpy.int32], dict(shape=(None,), order="C", device="cpu", writable=False)],
        written: bool,
    ) -> None: ...
    @property
    def wanted(self) -> int: ...
    def find_largest(
        self,
        values: Annotated[
            NDArray[numpy.float32], dict(shape=(None, None), order="C", device="cpu", writable=False)
        ],
        numbers: Annotated[
            NDArray[numpy.int32], dict(shape=(None,), order="C", device="cpu", writable=False)
        ],
        vocabulary: int,
        banned: Annotated[NDArray[numpy.int32], dict(shape=(None,), order="C", device="cpu", writable=False)],
        allowed: Annotated[NDArray[numpy.int32], dict(shape=(None,), order="C", device="cpu", writable=False)]
        | None,
    ) -> int | None: ...
    @property
    def number(self) -> int: ...
    @number.setter
    def number(self, arg: int, /) -> None: ...
    def fork(self) -> Sampler: ...

def sample(
    samplers: Sequence[Sampler],
    logits: Annotated[
        NDArray[numpy.float32], dict(shape=(None, None), order="C", device="cpu", writable=False)
    ],
    allowed: Sequence[
        Annotated[NDArray[numpy.int32], dict(shape=(None,), order="C", device="cpu", writable=False)] | None
    ],
    team: lumen_mlir._mlir.team.ThreadTeam | None,
) -> tuple[list[int], list[str]]: ...
def philox(counter: Sequence[int], key: Sequence[int]) -> list[int]: ...
def log_sum(
    logits: Annotated[NDArray[numpy.float32], dict(shape=(None,), order="C", device="cpu", writable=False)],
) -> tuple[float, float]: ...
