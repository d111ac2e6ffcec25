# SPDX-License-Identifier: Apache-2.0
"""What devices are called: ``cpu``, ``cuda``, ``cuda:1``, …"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lumen_mlir.errors import LumenError, shown

GPUS = {"cuda": "lumen_mlir.run.cuda", "vulkan": "lumen_mlir.run.vulkan"}
"""Modules for kinds of GPUs.

Each has ``open_gpu(number)``, which gives a ``Device``; ``count_gpus()``; and ``describe_gpu(number)``, which
gives the fields of ``DeviceInfo``. They raise ``LumenError`` where there is none.
"""

CPU = "cpu"


@dataclass(frozen=True)
class DeviceName:
    """The name of a device.

    Attributes:
      kind: "cpu", or one of ``GPUS``.
      number: of the device among those of its kind, from 0 on.
    """

    kind: str
    number: int = 0

    @staticmethod
    def parse(text: object) -> DeviceName:
        """The name that ``text`` is; without a number it is that of the first device of its kind.

        Raises ``LumenError`` where it is none.
        """
        match = re.fullmatch(r"([a-z]+)(?::(\d{1,4}))?", text) if isinstance(text, str) else None
        if match is None or match[1] not in (CPU, *GPUS) or (match[1] == CPU and match[2]):
            raise LumenError(
                f"unknown device {shown(text)}; there are {', '.join((CPU, *GPUS))}, and of several GPUs "
                "also cuda:1, …"
            )
        return DeviceName(match[1], int(match[2] or 0))

    def __str__(self) -> str:
        return CPU if self.kind == CPU else f"{self.kind}:{self.number}"
