# SPDX-License-Identifier: Apache-2.0
"""What the bits of keys and values follow from, besides the tokens.

Threads, chunks, the way that products are cut, and who else is in a step change no bit, so they are not
here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from lumen_mlir import formats
from lumen_mlir.errors import one_line
from lumen_mlir.models import Model
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.version import __version__


@dataclass(frozen=True)
class KvIdentity:
    """Keys and values of equal identities are equal for equal tokens.

    Attributes:
      lumen: the version.
      model: its file, and what the formats of its weights mean.
      kv_type, activations: of ``SessionOptions``.
      target: what code is made for; others round differently.
      rotation: of the angles per position, which some models take from the context.
    """

    lumen: str
    model: str
    kv_type: str
    activations: str
    target: str
    rotation: str

    @staticmethod
    def of(
        model: Model, options: SessionOptions, targets: Sequence[tuple[str, int]], context: int
    ) -> KvIdentity:
        """The identity of what is computed with these options.

        ``targets``: their names, and how many layers each computes.
        """
        more = len(targets) > 1
        types = sorted({info.type for info in model.tensors.values()})
        texts = [fmt.emit_ir() for fmt in map(formats.get, types) if not fmt.is_float]
        ropes = model.config.ropes
        turns = b"".join(rope.frequencies(context).tobytes() for rope in ropes)
        return KvIdentity(
            lumen=__version__,
            model=f"{model.file.fingerprint()}-{_digest(json.dumps(texts).encode())}{_layers_text(model)}",
            kv_type=options.kv_type,
            activations=options.activations,
            target=" + ".join(f"{name} x {count}" for name, count in targets) if more else targets[0][0],
            rotation=_digest(turns + repr([rope.magnitude for rope in ropes]).encode()),
        )

    def differences(self, other: dict) -> list[str]:
        """In what the identity that was written as ``other`` differs, for people."""
        names = {"lumen": "version of Lumen", "kv_type": "KV type", "rotation": "rotary embedding"}
        found = []
        for name, value in asdict(self).items():
            if other.get(name) != value:
                what = names.get(name, name)
                digest = name in ("model", "rotation")
                its = one_line(other.get(name), 80)
                found.append(f"another {what}" if digest else f"{what} {its}, not {value}")
        return found


def _layers_text(model: Model) -> str:
    """Which layers it has; "" where it has all."""
    whole = model.is_first and model.is_last
    return "" if whole else f"-{model.layers.start}-{model.layers.stop}"


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
