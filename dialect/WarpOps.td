// SPDX-License-Identifier: Apache-2.0
//
// Where a worker is a warp: threads of a GPU that run the same code, each with
// a lane of every vector.
#ifndef LUMEN_WARP_OPS
#define LUMEN_WARP_OPS

include "dialect/LumenOpBase.td"

/// What a thread has in one or two of its registers.
def Lumen_Register : AnyTypeOf<[I1, I8, I16, I32, I64, F16, BF16, F32]>;

def Lumen_LaneOp : Lumen_Op<"lane", [Pure]> {
  let summary = "number of the lane that this thread computes";
  let description = [{
    In 0 .. n - 1 for a warp of n threads. All else that threads of a warp do
    differently follows from it.

    ```mlir
    %lane = lumen.lane
    ```
  }];
  let results = (outs I32:$result);
  let assemblyFormat = "attr-dict";
}

def Lumen_ShuffleOp : Lumen_Op<"shuffle", [Pure, AllTypesMatch<["value", "result"]>]> {
  let summary = "the value of another lane";
  let description = [{
    What `value` is in lane `from` of the warp, whose threads come here together.

    ```mlir
    %y = lumen.shuffle %x, %from : f32
    ```
  }];
  let arguments = (ins Lumen_Register:$value, I32:$from);
  let results = (outs Lumen_Register:$result);
  let assemblyFormat = "$value `,` $from attr-dict `:` type($value)";
}

def Lumen_WarpBarrierOp : Lumen_Op<"warp_barrier"> {
  let summary = "waits until every thread of the warp is here";
  let description = [{
    What any of them wrote before is visible to all of them after it.

    ```mlir
    lumen.warp_barrier
    ```
  }];
  let assemblyFormat = "attr-dict";
}

def Lumen_ScratchOp : Lumen_Op<"scratch"> {
  let summary = "memory that the threads of a warp share";
  let description = [{
    The bytes from `offset` on of the memory of this warp alone. What was there
    before is undefined at the beginning of a kernel.

    ```mlir
    %s = lumen.scratch 64 : memref<16xf32>
    ```
  }];
  let arguments = (ins I64Attr:$offset);
  let results = (outs MemRefOf<[AnyType]>:$result);
  let assemblyFormat = "$offset attr-dict `:` type($result)";
  let hasVerifier = 1;
}

#endif // LUMEN_WARP_OPS
