# SPDX-License-Identifier: Apache-2.0
"""``--dry-run`` and ``--memory-budget``."""

from __future__ import annotations

import re

import pytest
from hf_samples import write_folder


@pytest.mark.parametrize("command", [("generate", "-p", "a"), ("chat",), ("bench", "-p", "16", "-n", "4")])
def test_dry_run(lumen, command):
    done = lumen(*command, "--dry-run")
    assert done.returncode == 0, done
    context = "20" if command[0] == "bench" else "2,048"
    for line in (
        r".*\.gguf: 7\.\d+ MB of weights in the file, read once to be packed",
        r"weights, packed +7\.\d+ MB  mapped from the cache",
        rf"KV cache +\S+ [kM]B  f16, ({context}|16) tokens",
        r"in all +\S+ MB",
        r"free memory: \S+ GB",
    ):
        assert re.search(rf"^{line}$", done.stdout, re.M), done.stdout


def test_budget(lumen, refused):
    whole = lumen("generate", "--dry-run").stdout
    total = float(re.search(r"in all +(\S+) MB", whole)[1])
    given = f"{total - 3:.2f}M"
    planned = lumen("generate", "--dry-run", "--memory-budget", given).stdout
    assert "q8_0, 2,048 tokens" in planned or re.search(r"q8_0, [\d,]+ tokens", planned)
    done = lumen("generate", "-p", "배우들의", "--temp", "0", "-v", "--memory-budget", given)
    assert done.stdout == " 연기가 정말 일품이었어요.\n" and "q8_0 KV cache" in done.stderr
    message = refused("generate", "-p", "a", "--memory-budget", "1M")
    assert "a memory budget of 1.00 MB is too small: packed weights take 7." in message
    assert message == refused("generate", "-p", "a", "--memory-budget", "1M", "--dry-run")
    assert "'2X' is none" in refused("generate", "-p", "a", "--memory-budget", "2X")


def test_folders_are_not_quantized(lumen, tmp_path):
    folder = write_folder(tmp_path / "model", "qwen2")
    before = lumen("cache").stdout.count("\nmodels ")
    done = lumen("generate", folder, "--dry-run", "--format", "q8_0")
    assert done.returncode == 0 and "in the file, read once" in done.stdout, done
    assert lumen("cache").stdout.count("\nmodels ") == before
