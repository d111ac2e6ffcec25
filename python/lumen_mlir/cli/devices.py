# SPDX-License-Identifier: Apache-2.0
"""``lumen devices``."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.fitting import say, show

if TYPE_CHECKING:
    from lumen_mlir.run.device_list import DeviceInfo


@click.command(short_help="List what can run models.")
@shared.json_option
def command(as_json: bool) -> None:
    """List the CPU and the GPUs of this machine: their memory, and the target that Lumen compiles for.

    What stands in the first column is for --device. Of what cannot be used, a line below says why.

    On NVIDIA's GPUs a step is one kernel, whose blocks wait for each other. Where the driver refuses that, it
    is a chain of launches, for a target such as sm_90-launches; a line says why.
    """
    from lumen_mlir.run.device_list import list_devices

    found = list_devices()
    if as_json:
        click.echo(json.dumps([_fields(info) for info in found], ensure_ascii=False, indent=2))
        return
    rows = [
        (info.device, info.name or "-", _facts(info), _memory(info), info.target)
        for info in found
        if not info.reason
    ]
    show([("device", "name", "has", "memory", "target"), *rows], header=True)
    unusable = [info for info in found if info.reason]
    if unusable or any(info.note for info in found):
        say("")
    for info in found:
        if info.note:
            say(f"{info.device} ({info.name}): {info.note}")
    for info in unusable:
        name = f" ({info.name})" if info.name else ""
        say(f"{info.device}{name} cannot be used: {info.reason}")


def _fields(info: DeviceInfo) -> dict[str, object]:
    fields = dataclasses.asdict(info)
    facts, reason = fields.pop("facts"), fields.pop("reason")
    return {**fields, **facts, "reason": reason}


def _facts(info: DeviceInfo) -> str:
    words = {"threads": "{} threads", "processors": "{} processors", "capability": "capability {}"}
    words |= {"driver": "driver for {}", "step": "a step is {}"}
    return ", ".join(words.get(name, name + " {}").format(value) for name, value in info.facts.items()) or "-"


def _memory(info: DeviceInfo) -> str:
    from lumen_mlir.gguf.description import size_text

    if info.memory_free is None or info.memory_total is None:
        return "-"
    return f"{size_text(info.memory_free)} free of {size_text(info.memory_total)}"
