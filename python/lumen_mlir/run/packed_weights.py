# SPDX-License-Identifier: Apache-2.0
"""Weights in the layout that kernels read: packed once by synthesized code, mapped at the next start."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from lumen_mlir import formats, ir
from lumen_mlir.dialects import func, lumen
from lumen_mlir.errors import LumenError
from lumen_mlir.formats import packing
from lumen_mlir.formats.packing import Tile
from lumen_mlir.gguf import TensorInfo
from lumen_mlir.gguf.description import size_text
from lumen_mlir.models import Model
from lumen_mlir.storage.cache import Cache
from lumen_mlir.storage.cache_entry import CacheError, prefer_large_pages
from lumen_mlir.storage.mapping import check_unchanged, private_memory
from lumen_mlir.support.system import available_memory
from lumen_mlir.version import __version__

# Goes into the key of cached entries: raise it when the meaning of the bytes changes.
_LAYOUT_VERSION = 4
# Packed at once: enough for many threads, little enough for a cache.
_CHUNK_BYTES = 8 << 20

logger = logging.getLogger(__name__)

Packer = Callable[[TensorInfo, np.ndarray, np.ndarray], None]
"""Packs the bytes of a matrix (uint8) into a buffer (uint8, aligned to 64 bytes)."""


@dataclass(frozen=True)
class PackedLayout:
    """Where each packed weight lies in one buffer.

    Attributes:
      places: name to (offset, bytes); offsets are multiples of 64.
      tiles: name to how it is cut.
      size: bytes of the buffer.
      key: of the cache entry; other files, tiles or formats have other keys.
    """

    places: dict[str, tuple[int, int]]
    tiles: dict[str, Tile]
    size: int
    key: str

    @staticmethod
    def of(model: Model, tiles: Mapping[str, Tile]) -> PackedLayout:
        """The layout of tensors of ``model``; ``tiles``: name to how it is cut."""
        places: dict[str, tuple[int, int]] = {}
        size, parts = 0, [__version__, str(_LAYOUT_VERSION)]
        for name, tile in tiles.items():
            info = model.tensors[name]
            n, k = info.shape
            used = packing.packed_bytes(formats.get(info.type), n, k, *tile)
            places[name] = size, used
            size += packing.align(used)
            parts.append(f"{name} {info.type} {info.shape} {tile}")
        types = sorted({model.tensors[name].type for name in places})
        # A format that is described anew packs anew.
        parts += [fmt.emit_ir() for fmt in map(formats.get, types) if not fmt.is_float]
        digest = hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
        return PackedLayout(places, dict(tiles), size, f"{model.file.fingerprint()}-{digest}")


def pack_function(type_: str, tile: Tile) -> str:
    """The name of the function that packs tensors of a type into such tiles."""
    return f"pack_{type_}_{tile.rows}x{tile.step}"


def pack_module(kinds: Iterable[tuple[str, Tile]]) -> ir.Module:
    """A module with the ``pack_function`` of each type and tile, in the current context."""
    kinds = sorted(set(kinds))
    module = ir.Module.create()
    dynamic = [ir.ShapedType.get_dynamic_size()] * 2
    with ir.InsertionPoint(module.body):
        for name in sorted({name for name, _ in kinds}):
            if not formats.get(name).is_float:
                lumen.format(formats.get(name).emit_ir())
        for name, tile in kinds:
            element = lumen.element_type(name)
            raw = ir.RankedTensorType.get(dynamic, element)
            packed = ir.RankedTensorType.get(dynamic, element, lumen.packed(tile))
            block = func.func(pack_function(name, tile), [raw], [packed])
            with ir.InsertionPoint(block):
                func.return_([lumen.pack(block.arguments[0], tile)])
    module.operation.verify()
    return module


def load_packed(layout: PackedLayout, cache: Cache) -> np.ndarray | None:
    """The buffer (uint8, read-only, mapped) from the cache, or None."""
    return cache.load_mapped("packed", layout.key)


def pack(
    model: Model,
    layout: PackedLayout,
    packer: Packer,
    cache: Cache | None,
    progress: Callable[[int, int], None],
) -> np.ndarray:
    """Packs every weight of ``layout`` into one buffer (uint8), kept in ``cache`` where that is possible.

    Weights take memory once: the pages of the file that were read are given back, and what goes to the cache
    is written chunk by chunk. ``progress`` is called with the bytes done and the bytes of all; what it raises
    ends the work.
    """
    if cache is not None:
        try:
            with cache.create("packed", layout.key, layout.size) as entry:
                if not entry.persistent:
                    _check_memory(layout)
                pack_into(model, layout, packer, entry.write, progress)
                return entry.commit()
        except CacheError as error:
            logger.warning("%s; going on without", error)
    _check_memory(layout)
    buffer = zeros((layout.size,), huge=True)

    def copy(begin: int, data: np.ndarray) -> None:
        buffer[begin : begin + data.size] = data

    pack_into(model, layout, packer, copy, progress)
    return buffer


def pack_into(
    model: Model,
    layout: PackedLayout,
    packer: Packer,
    write: Callable[[int, np.ndarray], None],
    progress: Callable[[int, int], None],
) -> None:
    """Packs every weight of ``layout``: ``write`` is called with places and bytes, in ascending order.

    What lies between them is zero. ``progress`` is as for ``pack``.
    """
    total = sum(model.tensors[name].nbytes for name in layout.places)
    sizes = [_chunk_bytes(model.tensors[name], tile) for name, tile in layout.tiles.items()]
    chunk = zeros((max(sizes, default=0),), huge=True)
    done = 0
    progress(done, total)
    for name, (offset, _) in layout.places.items():
        info, raw = model.tensors[name], model.weight(name)
        chunks = _packed_chunks(info, raw, layout.tiles[name], packer, chunk, model.file.path)
        for place, data, rows in chunks:
            write(offset + place, data)
            progress(done + rows * info.nbytes // len(raw), total)
        model.file.release(name)
        done += info.nbytes
    check_unchanged(model.file.files)


def _chunk_rows(info: TensorInfo, tile: Tile) -> int:
    """The rows of a weight that are packed at once."""
    per_tile = packing.stream_bytes(formats.get(info.type), info.shape[1], *tile)
    return max(_CHUNK_BYTES // sum(per_tile), 1) * tile.rows


def _chunk_bytes(info: TensorInfo, tile: Tile) -> int:
    n, k = info.shape
    return packing.packed_bytes(formats.get(info.type), min(_chunk_rows(info, tile), n), k, *tile)


def _packed_chunks(
    info: TensorInfo, raw: np.ndarray, tile: Tile, packer: Packer, memory: np.ndarray, path: object
) -> Iterator[tuple[int, np.ndarray, int]]:
    """Packs a weight in chunks of some tiles: where each part lies in the packed weight, the part, rows done.

    Parts come in ascending order. A chunk has its share of every stream; the first stream is nearly all of
    it, and those of the others are kept until they follow. Chunks are packed into ``memory``. Raises
    ``LumenError`` where a scale or a float is infinite or no number; ``path`` is the model's file.
    """
    n, k = info.shape
    fmt, rows = formats.get(info.type), tile.rows
    per_tile = packing.stream_bytes(fmt, k, *tile)
    kept: list[list[np.ndarray]] = [[] for _ in per_tile[1:]]
    step = _chunk_rows(info, tile)
    for begin in range(0, n, step):
        end = min(begin + step, n)
        chunk = memory[: packing.packed_bytes(fmt, end - begin, k, *tile)]
        packer(replace(info, shape=(end - begin, k)), raw[begin:end].reshape(-1), chunk)
        if found := packing.find_nonfinite(fmt, chunk, end - begin, k, *tile):
            raise LumenError(f"{path}: tensor {info.name}, row {begin + found[0]}: {found[1]}")
        place = 0
        for stream, size in enumerate(per_tile):
            part = chunk[place : place + -(-(end - begin) // rows) * size]
            place += packing.align(part.size)
            if stream == 0:
                yield begin // rows * size, part, end
            else:
                kept[stream - 1].append(part.copy())
    tiles, place = -(-n // rows), 0
    for size, parts in zip(per_tile, [[], *kept], strict=True):
        done = place
        for part in parts:
            yield done, part, n
            done += part.size
        place += packing.align(tiles * size)


def _check_memory(layout: PackedLayout) -> None:
    """Refuses what would end in the system killing the process, or others."""
    free = available_memory()
    if free is not None and layout.size > free:
        raise LumenError(
            f"packed weights take {size_text(layout.size)}, but only {size_text(free)} of memory are free; "
            "they can be mapped from a file instead: let the cache have it "
            "(LUMEN_CACHE_DIR, LUMEN_CACHE_LIMIT)"
        )


def zeros(
    shape: tuple[int, ...], dtype: type = np.uint8, huge: bool = False, reserved: bool = True
) -> np.ndarray:
    """Zeros that begin at a page and take memory only where they are written.

    ``huge``: in large pages where the system has them. An array that is written here and there had better not
    be: each place would take a large page. ``reserved``: as for ``private_memory``.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    mapping = private_memory(size, reserved)
    if huge:
        prefer_large_pages(mapping)
    else:
        with contextlib.suppress(OSError):
            mapping.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(mapping, np.uint8)[:size].view(dtype).reshape(shape)
