// SPDX-License-Identifier: Apache-2.0
//
// Which logits a token may be drawn from: the largest of a row, in groups.
#ifndef LUMEN_SELECTION_OPS
#define LUMEN_SELECTION_OPS

include "dialect/LumenOpBase.td"

def Lumen_GroupKeysOp : Lumen_RowOp<"group_keys"> {
  let summary = "the largest value of every group of columns, as integers";
  let description = [{
    Group g of the columns of `x` are the `group` ones from number `group` * g on; the
    last group may have fewer. `result[t, g]` stands for the largest of their values: an
    unsigned integer that is larger for a larger value. NaN counts as larger than any
    number, and -0 as 0.

    For a value whose bits are v, the integer is v + 2^31 where the sign is not set,
    and otherwise the complement of v. The result has a multiple of 128 columns. Those
    behind the last group are 0, less than any value.

    ```mlir
    %k = lumen.group_keys %x {group = 128 : i64} : tensor<?x151936xf32> -> tensor<?x1280xi32>
    ```
  }];
  let arguments = (ins Lumen_Rows:$x,
    ConfinedAttr<I64Attr, [IntMinValue<32>, IntMaxValue<256>, IntPowerOf2]>:$group);
  let results = (outs Lumen_Keys:$result);
  let extraClassDeclaration = [{
    ::llvm::SmallVector<NamedOperand> getBufferOperands() {
      return {{"x", getX()}};
    }
    /// The columns of the result are a multiple of it.
    static constexpr int64_t kStep = 128;
    /// How many they are for so many columns of x.
    static int64_t countKeys(int64_t columns, int64_t group);
  }];
  let assemblyFormat = "$x attr-dict `:` type($x) `->` type($result)";
  let hasVerifier = 1;
}

def Lumen_LargestGroupsOp : Lumen_RowOp<"largest_groups"> {
  let summary = "groups of columns by the rank of their largest values";
  let description = [{
    Of row r = `rows[i]` of `x`, with its `keys` (`lumen.group_keys`), the groups are put
    in order: those of larger keys first, of equal ones that of the smaller number.
    `numbers[i, 0]` is number `ranks[i]` of that order, from 0 on. `values[i, :]` are the
    columns of that group, or the last ones of the row where it is the last group: always
    as many as a group has.

    So whoever draws a token needs few of the logits: the k largest are in the k first
    groups.

    ```mlir
    %v, %n = lumen.largest_groups %x, %keys, %rows, %ranks
       : tensor<?x151936xf32>, tensor<?x1280xi32>, tensor<?xi32>, tensor<?xi32>
      -> tensor<?x128xf32>, tensor<?x1xi32>
    ```
  }];
  let arguments = (ins Lumen_Rows:$x, Lumen_Keys:$keys, Lumen_Numbers:$rows,
    Lumen_Numbers:$ranks);
  let results = (outs Lumen_Rows:$values, Lumen_Slots:$numbers);
  let extraClassDeclaration = [{
    ::llvm::SmallVector<NamedOperand> getBufferOperands() {
      return {{"x", getX()}, {"keys", getKeys()}, {"rows", getRows()}, {"ranks", getRanks()}};
    }
    /// Columns of a group.
    int64_t getGroup() {
      return ::llvm::cast<::mlir::RankedTensorType>(getValues().getType()).getDimSize(1);
    }
  }];
  let assemblyFormat = [{
    $x `,` $keys `,` $rows `,` $ranks attr-dict
    `:` type($x) `,` type($keys) `,` type($rows) `,` type($ranks)
    `->` type($values) `,` type($numbers)
  }];
  let hasVerifier = 1;
}

#endif // LUMEN_SELECTION_OPS
