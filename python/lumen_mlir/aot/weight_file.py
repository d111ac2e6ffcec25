# SPDX-License-Identifier: Apache-2.0
"""The file of a bundle that holds its weights: ``runtime/embed/WeightFile.h`` has the layout."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lumen_mlir.aot import description
from lumen_mlir.aot.compiled_model import CompiledModel
from lumen_mlir.aot.description import RopePlace
from lumen_mlir.formats import packing
from lumen_mlir.generate.sampling import Sampling
from lumen_mlir.models.rope import Rope
from lumen_mlir.run.compiled_step import compile_packers
from lumen_mlir.run.device import place_of
from lumen_mlir.run.packed_weights import load_packed, pack_into
from lumen_mlir.run.session_options import Progress, silent
from lumen_mlir.run.weight_loader import packer_of
from lumen_mlir.storage.atomic_file import reserve
from lumen_mlir.storage.cache import Cache
from lumen_mlir.storage.checksum import checksum

MAGIC, VERSION = b"LUMENWTS", 1
# Magic, version, bytes of the header, bytes of the description, place and bytes of the data, checksums of the
# description and of the data; then a checksum of those.
HEADER = struct.Struct("<8sII5Q")
HEADER_BYTES = HEADER.size + 8
_PAGE = 4096
_WRITE_BYTES = 8 << 20

Write = Callable[[int, np.ndarray], None]


class _Places:
    """Where the parts of the data lie, and what writes those that are not packed."""

    def __init__(self, compiled: CompiledModel):
        model, layout = compiled.model, compiled.layout
        self.size = 0
        self.small: list[tuple[int, np.ndarray]] = []
        self.ropes = [self._rope(rope) for rope in model.config.ropes]
        self.mapped: dict[str, tuple[int, int]] = {}
        named = [argument for argument in compiled.signature.arguments if argument.name]
        for argument in named:
            name = argument.name or ""
            if argument.tile is None and name not in self.mapped:
                size = description.argument_bytes(argument)
                self.mapped[name] = self._take(size), size
        self.packed = self._take(layout.size)
        self.weights: list[tuple[int, int, str]] = []
        for argument in named:
            name = argument.name or ""
            if argument.tile is None:
                offset, size = self.mapped[name]
            else:
                offset, size = layout.places[name]
                offset += self.packed
            self.weights.append((offset, size, name))

    def _take(self, size: int) -> int:
        """A place for so many bytes."""
        place = self.size
        self.size += packing.align(size)
        return place

    def _rope(self, rope: Rope) -> RopePlace:
        threshold = rope.long.original_context if rope.long is not None else 0
        near = rope.frequencies(threshold or 1)
        far = rope.frequencies(threshold + 1)
        offset = self._place(near)
        return RopePlace(offset, threshold, self._place(far) if threshold else offset)

    def _place(self, values: np.ndarray) -> int:
        data = np.ascontiguousarray(values, "<f8").view(np.uint8)
        place = self._take(data.size)
        self.small.append((place, data))
        return place


def write(
    path: Path,
    compiled: CompiledModel,
    sampling: Sampling,
    cache: Cache,
    progress: Progress = silent,
) -> None:
    """Writes the weights of a compiled model to ``path``, a new file.

    ``sampling``: what tokens are drawn with where nobody asks for anything else. Packed weights are taken
    from ``cache`` if they are there; this machine packs them, whatever the target. Raises ``OSError`` where
    the file cannot be written, and ``LumenError`` for weights that are not finite.
    """
    places = _Places(compiled)
    text = description.weights_text(
        compiled.model, compiled.target, compiled.id, sampling, places.ropes, places.weights
    ).encode()
    begin = -(-(HEADER_BYTES + len(text)) // _PAGE) * _PAGE
    with open(path, "xb") as file:
        reserve(file.fileno(), begin + places.size)

        def put(place: int, data: np.ndarray) -> None:
            file.seek(begin + place)
            for first in range(0, data.size, _WRITE_BYTES):
                file.write(data[first : first + _WRITE_BYTES].data)

        for place, data in places.small:
            put(place, data)
        for name, (place, _) in places.mapped.items():
            put(place, np.ascontiguousarray(compiled.model.weight(name)).reshape(-1).view(np.uint8))
            compiled.model.file.release(name)
        _write_packed(compiled, places.packed, put, cache, progress)
        file.seek(HEADER_BYTES)
        file.write(text)
        file.truncate(begin + places.size)
        file.flush()
        # Of what is in the file now.
        data = np.memmap(path, np.uint8, "r", begin, (places.size,)) if places.size else np.empty(0, np.uint8)
        sums = checksum(np.frombuffer(text, np.uint8)), checksum(data)
        header = HEADER.pack(MAGIC, VERSION, HEADER_BYTES, len(text), begin, places.size, *sums)
        file.seek(0)
        file.write(header + struct.pack("<Q", checksum(np.frombuffer(header, np.uint8))))


def _write_packed(compiled: CompiledModel, begin: int, put: Write, cache: Cache, progress: Progress) -> None:
    model, layout = compiled.model, compiled.layout
    kept = load_packed(layout, cache)
    if kept is not None:
        put(begin, kept)
        return
    # The layout is the target's; who packs does not matter to the bytes.
    kinds = ((model.tensors[name].type, tile) for name, tile in layout.tiles.items())
    packers = compile_packers(kinds, place_of(), cache, compiled.options.thread_count())
    pack_into(
        model,
        layout,
        packer_of(packers, layout),
        lambda place, data: put(begin + place, data),
        lambda done, total: progress("pack", done, total),
    )
