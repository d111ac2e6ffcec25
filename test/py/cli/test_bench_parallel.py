# SPDX-License-Identifier: Apache-2.0
"""``lumen bench --parallel``: what it prints, and that its numbers agree with one another."""

from __future__ import annotations

import json

import pytest

_FAST = ("-p", "8", "-n", "6", "-r", "2", "-t", "1")


def test_fields(lumen, tiny):
    done = lumen("bench", tiny, "--parallel", "1,3", *_FAST, "-o", "json")
    alone, many = json.loads(done.stdout)
    assert (alone["pl"], many["pl"], many["pp"], many["tg"], many["n_kv"]) == (1, 3, 8, 6, 3 * 14)
    for each in (alone, many):
        # (Seconds have six digits behind the point, and these are few.)
        assert each["t"] == pytest.approx(each["t_pp"] + each["t_tg"], abs=1e-5)
        assert each["speed"] == pytest.approx(each["n_kv"] / each["t"], rel=0.02)
        assert each["speed_pp"] == pytest.approx(each["pl"] * each["pp"] / each["t_pp"], rel=0.02)
        assert 0 < each["first_token_ms"] <= each["last_first_token_ms"] < each["t"] * 2e3
        assert 0 < each["between_tokens_p50_ms"] <= each["between_tokens_p99_ms"]
        assert 0 < each["share_read"] < 1 and 0 < each["share_products"] < 1 and len(each["samples_tg"]) == 2
    assert "lumen: 1 thread, 3 streams: " in done.stderr


def test_forms(lumen, tiny):
    table = lumen("bench", tiny, "-npl", "2", *_FAST, "-q").stdout.splitlines()
    assert table[0].replace(" ", "").startswith("|threads|PP|TG|B|N_KV|") and len(table) == 3
    assert len({line.count("|") for line in table}) == 1
    csv = lumen("bench", tiny, "--parallel", "2", *_FAST, "-q", "-o", "csv").stdout.splitlines()
    assert '"speed_tg"' in csv[0] and "samples_tg" not in csv[0] and len(csv) == 2


def test_shared_prefix(lumen, tiny):
    options = ("--parallel", "2", "--shared-prefix", "40", *_FAST, "-q", "-o", "json")
    (result,) = json.loads(lumen("bench", tiny, *options).stdout)
    assert (result["pp"], result["n_shared"], result["n_kv"]) == (48, 40, 40 + 2 * 14)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--parallel", "0"), "--parallel is '0'; whole numbers of at least 1"),
        (("--parallel", "2", "-d", "16"), "-d has no place there"),
        (("--parallel", "2", "-n", "0"), "-p and -n must be above 0"),
        (("--parallel", "2", "--profile"), "--parallel has no place there"),
        (("--shared-prefix", "64"), "--parallel were expected"),
        (("--parallel", "2", "--shared-prefix", "-1"), "--shared-prefix is -1"),
        (("--parallel", "2", "-p", "8", "-n", "4", "--engine", "reference"), "only compiled models"),
    ],
)
def test_refused(refused, tiny, options, message):
    assert message in refused("bench", tiny, *options)
