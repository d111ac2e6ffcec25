# SPDX-License-Identifier: Apache-2.0
"""3.5 bits per weight: two of 11 learned values in every 7 bits, since 11 * 11 = 121 < 128.

Tutorial: docs/tutorials/learned-table.md. The table is what ``learn_table.py`` finds for the embedded model.
It is part of the format, as IQ4_NL's is: a file can only be read with the table it was written with.
"""

from lumen_mlir.formats.dsl import Codes, concat, f16, quant_format, u8, u16, unpack, where

TABLE = (-127, -95, -68, -43, -21, 0, 21, 43, 68, 95, 127)


@quant_format("lloyd11", block=64, bits=4, table=TABLE, size=30)
class Lloyd11:
    """A pair is 11 * second + first; its 7 bits are kept as 4 low, 2 middle and 1 high one."""

    d: f16
    low: u8[16]
    middle: u8[8]
    high: u8[4]

    def decode(b):
        pairs = unpack(b.low, 4) | (unpack(b.middle, 2) << 4) | (unpack(b.high, 1) << 6)
        # pairs / 11 without a division: 187 / 2048 is a little more than 1 / 11.
        second = u8((u16(pairs) * 187) >> 11)
        first = pairs - second * 11
        # 121 to 127 are no pairs; the code must have a value all the same.
        return Codes(concat(first, where(second < 11, second, 10)), scale=b.d)
