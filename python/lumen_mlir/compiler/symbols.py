# SPDX-License-Identifier: Apache-2.0
"""Names of symbols in object files (ELF, 64 bits, little-endian), changed without a linker."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from lumen_mlir.errors import LumenError

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = np.dtype(
    [("name", "<u4"), ("type", "<u4"), ("flags", "<u8"), ("address", "<u8"), ("offset", "<u8"),
     ("size", "<u8"), ("link", "<u4"), ("info", "<u4"), ("alignment", "<u8"), ("entry", "<u8")]
)  # fmt: skip
_SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
_SYMBOL_TABLE = 2
_ELF_64_LITTLE = b"\x7fELF\x02\x01"


def renamed(objects: Sequence[bytes], rename: Callable[[str], str]) -> list[bytes]:
    """The object files with other names for the global symbols that one of them defines.

    A name that none of them defines stays as it is: others define it. Raises ``LumenError`` for what is no
    object file of this kind, and where ``rename`` gives two symbols one name.
    """
    tables = [_Symbols(data) for data in objects]
    defined = {
        name
        for table in tables
        for name, symbol in table.named()
        if symbol["section"] and symbol["info"] >> 4  # (0: local)
    }
    names = {name: rename(name) for name in sorted(defined)}
    if len(set(names.values())) < len(names):
        raise LumenError("two symbols would have one name")
    return [table.renamed(names) for table in tables]


class _Symbols:
    """The symbol table of an object file."""

    def __init__(self, data: bytes):
        if len(data) < _HEADER.size or not data.startswith(_ELF_64_LITTLE):
            raise LumenError("is no object file (ELF, 64 bits, little-endian)")
        self.data, self.place = data, _HEADER.unpack_from(data)[6]
        count = _HEADER.unpack_from(data)[12]
        # More sections than the header can count stand in the first one.
        count = count or int(np.frombuffer(data, _SECTION, 1, self.place)["size"][0])
        self.sections = np.frombuffer(data, _SECTION, count, self.place).copy()
        (found,) = np.flatnonzero(self.sections["type"] == _SYMBOL_TABLE)
        self.own = self.sections[found]
        size = int(self.own["size"]) // _SYMBOL.itemsize
        self.symbols = np.frombuffer(data, _SYMBOL, size, self.own["offset"]).copy()
        self.strings = self.sections[self.own["link"]]
        begin = int(self.strings["offset"])
        self.texts = data[begin : begin + int(self.strings["size"])]

    def named(self) -> Iterator[tuple[str, np.void]]:
        """Global symbols with their names."""
        for symbol in self.symbols[int(self.own["info"]) :]:
            begin = int(symbol["name"])
            yield self.texts[begin : self.texts.index(b"\0", begin)].decode(), symbol

    def renamed(self, names: dict[str, str]) -> bytes:
        """The file with new names, which stand in a longer copy of its texts at its end."""
        texts = bytearray(self.texts)
        for name, symbol in self.named():
            if name in names:
                symbol["name"] = len(texts)
                texts += names[name].encode() + b"\0"
        output = bytearray(self.data)
        begin = int(self.own["offset"])
        output[begin : begin + self.symbols.nbytes] = self.symbols.tobytes()
        self.strings["offset"], self.strings["size"] = len(output), len(texts)
        output[self.place : self.place + self.sections.nbytes] = self.sections.tobytes()
        return bytes(output + texts)
