# SPDX-License-Identifier: Apache-2.0
"""Plans machines for a model: how many, how much memory each, and how many tokens per second to expect.

    python benchmarks/plan.py             # print the table of docs/scale-out.md
    python benchmarks/plan.py --write     # write it into the page

Nothing is measured here. Shares of what a machine can do come from benchmarks/results/pages.json, where they
were measured; what machines can do, and what a hop between them takes, are the assumptions below.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lumen_mlir import formats

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "pages.json", ROOT / "docs" / "scale-out.md"
BEGIN, END = "<!-- planned -->", "<!-- end -->"

# Texts of a group, which share a step; tokens of each; tokens of a step that reads prompts.
TEXTS, CONTEXT, CHUNK = 16, 4096, 512
# Memory that is left to everything else.
_USED = 0.9


@dataclass(frozen=True)
class Shares:
    """Of what reading memory and 8-bit products allow, measured: one text, 16 of them, prompts."""

    one: float
    many: float
    prompt: float

    @staticmethod
    def measured(path: Path = RESULTS) -> Shares:
        """Medians over the dense models of pages.json, at two threads."""
        parts = json.loads(path.read_text())

        def rows(part: str, test: str) -> Iterator[float]:
            for output in parts[part]["outputs"]:
                for row in output["rows"]:
                    if re.fullmatch(test, row["test"]) and not row["file"].startswith("moe"):
                        yield row["of_limit"]

        return Shares(
            *(
                statistics.median(rows(*each))
                for each in (("speed", r"tg\d+"), ("batches", rf"tg\d+ x {TEXTS}"), ("speed", r"pp\d+"))
            )
        )


@dataclass(frozen=True)
class Machine:
    """A kind of machine: bytes of memory, bytes read per second, 8-bit operations per second."""

    name: str
    memory: float
    read: float
    operations: float


@dataclass(frozen=True)
class Network:
    """Between two stages: seconds of a call, bytes per second."""

    call: float = 1e-3
    rate: float = 1.25e9

    def hop(self, tokens: int, width: int) -> float:
        """Seconds that the hidden states of so many tokens take."""
        return self.call + 4 * tokens * width / self.rate


@dataclass(frozen=True)
class Size:
    """A dense model with matrices of ``format``, and an output matrix of Q6_K."""

    name: str
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    feed_forward: int
    vocabulary: int
    format: str = "q4_k"

    @property
    def in_layers(self) -> int:
        """Weights of all layers."""
        attention = 2 * self.width * self.head_size * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.width * self.feed_forward)

    @property
    def read(self) -> float:
        """Bytes of weights that a step reads."""
        return self.in_layers * _bytes(self.format) + self.vocabulary * self.width * _bytes("q6_k")

    @property
    def stored(self) -> float:
        """Bytes of weights, with the embedding table."""
        return self.read + self.vocabulary * self.width * _bytes(self.format)

    @property
    def operations(self) -> float:
        """Of a token."""
        return 2 * (self.in_layers + self.vocabulary * self.width)

    @property
    def kv(self) -> int:
        """Bytes of keys and values of a token, in f16."""
        return 4 * self.layers * self.kv_heads * self.head_size


def _bytes(name: str) -> float:
    return formats.get(name).bits_per_weight / 8


@dataclass(frozen=True)
class Plan:
    """A model on machines of one kind, each with some of its layers."""

    size: Size
    machine: Machine
    shares: Shares
    network: Network = Network()

    @property
    def machines(self) -> int:
        """As few as have room for the weights and for a group of texts each."""
        count = 1
        while self.memory(count) > _USED * self.machine.memory:
            count += 1
            if count > self.size.layers:
                raise ValueError(f"{self.size.name} does not fit {self.machine.name}, a layer on each")
        return count

    def memory(self, count: int) -> float:
        """Bytes on each of so many: its layers, and their keys and values of all groups."""
        return (self.size.stored + count * TEXTS * CONTEXT * self.size.kv) / count

    def step(self, tokens: int, share: float, machines: int) -> float:
        """Seconds in which each machine does its part of a step, without a hop."""
        reading = self.size.read / machines / self.machine.read
        computing = tokens * self.size.operations / machines / self.machine.operations
        return max(reading, computing) / share

    def one(self, machines: int) -> float:
        """Tokens per second of a single text: the machines take turns."""
        hops = (machines - 1) * self.network.hop(1, self.size.width)
        return 1 / (machines * self.step(1, self.shares.one, machines) + hops)

    def many(self, machines: int) -> float:
        """Tokens per second of as many groups of texts as machines."""
        return TEXTS / self._stage(TEXTS, self.shares.many, machines)

    def prompts(self, machines: int) -> float:
        """Tokens of prompts per second, of as many texts as machines."""
        return CHUNK / self._stage(CHUNK, self.shares.prompt, machines)

    def _stage(self, tokens: int, share: float, machines: int) -> float:
        hop = self.network.hop(tokens, self.size.width) if machines > 1 else 0.0
        return self.step(tokens, share, machines) + hop


# Per core, as the machine of pages.json has it; memory by its makers' data: two and twelve channels of DDR5.
_PER_CORE = 180e9
DESKTOP = Machine("desktop", 64e9, 75e9, 8 * _PER_CORE)
SERVER = Machine("server", 384e9, 400e9, 64 * _PER_CORE)
RACK = 32
SIZES = (
    Size("8B", 4096, 32, 32, 8, 128, 14_336, 128_256),
    Size("70B", 8192, 80, 64, 8, 128, 28_672, 128_256),
    Size("405B", 16_384, 126, 128, 8, 128, 53_248, 128_256),
)


def table(shares: Shares) -> str:
    """The table of the page, with what was measured below it."""
    lines = [
        "| model | machines | GB on each | one text | texts | all texts | prompts |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for size in SIZES:
        for machine in (DESKTOP, SERVER):
            plan = Plan(size, machine, shares)
            lines.append(_row(plan, plan.machines, 1))
        lines.append(_row(plan, plan.machines, RACK // plan.machines))
    measured = (
        f"Measured shares of the limit: {shares.one:.2f} for one text, {shares.many:.2f} for {TEXTS} at "
        f"once, {shares.prompt:.2f} for prompts."
    )
    return "\n".join([*lines, "", measured])


def _row(plan: Plan, machines: int, replicas: int) -> str:
    kind = plan.machine.name + ("s" if machines > 1 else "")
    name = f"{machines} {kind}" if replicas == 1 else f"a rack: {replicas} x {machines} {kind}"
    rates = plan.one(machines), plan.many(machines) * replicas, plan.prompts(machines) * replicas
    one, many, prompts = (f"{rate:,.1f}" if rate < 10 else f"{rate:,.0f}" for rate in rates)
    texts = TEXTS * machines * replicas
    memory = plan.memory(machines) / 1e9
    return f"| {plan.size.name} | {name} | {memory:.0f} | {one} | {texts} | {many} | {prompts} |"


def page(text: str, made: str) -> str:
    """The page ``text`` with ``made`` between its marks."""
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n\n{made}\n\n{END}{rest.partition(END)[2]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.relative_to(ROOT)}")
    made = table(Shares.measured())
    if parser.parse_args().write:
        PAGE.write_text(page(PAGE.read_text(), made))
    else:
        print(made)


if __name__ == "__main__":
    main()
