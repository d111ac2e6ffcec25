# SPDX-License-Identifier: Apache-2.0
"""What devices there are, whether Lumen can use them, and why not."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field

from lumen_mlir import env
from lumen_mlir.compiler import targets
from lumen_mlir.errors import LumenError, one_line
from lumen_mlir.run.device_name import CPU, GPUS
from lumen_mlir.support.system import available_memory, cpu_name, total_memory
from lumen_mlir.support.threads import default_thread_count


@dataclass(frozen=True)
class DeviceInfo:
    """A device, or a kind of devices that cannot be used.

    Attributes:
      device: what ``--device`` takes, such as "cpu" or "cuda:0".
      name: as its maker calls it.
      target: what code for it is compiled for, unless another target is asked for; "" for none.
      memory_free, memory_total: bytes; None where nobody knows.
      facts: more, by names for scripts: "threads", "processors", "capability", "driver", "step".
      note: what else there is to know; "" for nothing.
      reason: why it cannot be used; "" where it can.
    """

    device: str
    name: str = ""
    target: str = ""
    memory_free: int | None = None
    memory_total: int | None = None
    facts: dict[str, int | str] = field(default_factory=dict)
    note: str = ""
    reason: str = ""


def list_devices() -> list[DeviceInfo]:
    """All devices, this machine's CPU first. What fails at a GPU is the reason that it cannot be used."""
    cpu = DeviceInfo(
        device=CPU,
        name=cpu_name(),
        target=targets.native().name,
        memory_free=available_memory(),
        memory_total=total_memory(),
        facts={"threads": env.THREADS.get() or default_thread_count()},
    )
    return [cpu, *(info for kind, module in GPUS.items() for info in _gpus(kind, module))]


def _gpus(kind: str, path: str) -> list[DeviceInfo]:
    """Those of a kind. Whatever their libraries raise comes to no harm."""
    try:
        module = importlib.import_module(path)
        count = module.count_gpus()
    except Exception as error:
        # Versions of Lumen that know nothing of a kind have nothing to say of it.
        is_unknown = isinstance(error, ModuleNotFoundError) and error.name == path
        return [] if is_unknown else [DeviceInfo(kind, reason=_reason(error))]
    found: list[DeviceInfo] = []
    for number in range(count):
        try:
            found.append(DeviceInfo(**module.describe_gpu(number)))
        except Exception as error:
            found.append(DeviceInfo(f"{kind}:{number}", reason=_reason(error)))
    return found or [DeviceInfo(kind, reason="there is no GPU")]


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, LumenError) else f"{type(error).__name__}: {one_line(error, 200)}"
