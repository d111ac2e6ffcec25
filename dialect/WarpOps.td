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

def Lumen_WarpMmaOp : Lumen_Op<"warp_mma", [Pure, AllTypesMatch<["acc", "result"]>]> {
  let summary = "what a lane has of a small matrix product";
  let description = [{
    The part of a thread in `lumen.mma`, for which all threads of its warp come here
    together. With l for its lane, a quarter of k codes and pairs of sums at a time are
    those of

        lhs    rows l / 4 and l / 4 + 8, quarter l % 4 of each,
        rhs    row l / 4, quarter l % 4,
        acc    rows l / 4 and l / 4 + 8, columns 2 (l % 4) and 2 (l % 4) + 1.

    So matrices are in chunks of consecutive elements, which go round the lanes.

    ```mlir
    %r = lumen.warp_mma <m = 16, n = 8, k = 32, lhs = si8, rhs = si8, acc = i32, weights_left = true> %w, %x, %acc
       : vector<16xi8>, vector<8xi8>, vector<4xi32>
    ```
  }];
  let arguments = (ins
    Lumen_DotAttr:$shape,
    FixedVectorOfRankAndType<[1], [I8]>:$lhs,
    FixedVectorOfRankAndType<[1], [I8]>:$rhs,
    FixedVectorOfRankAndType<[1], [I32]>:$acc);
  let results = (outs FixedVectorOfRankAndType<[1], [I32]>:$result);
  let assemblyFormat = [{
    $shape $lhs `,` $rhs `,` $acc attr-dict `:` type($lhs) `,` type($rhs) `,` type($acc)
  }];
  let hasVerifier = 1;
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

def Lumen_BlockWorkerIdOp : Lumen_Op<"block_worker_id", [Pure]> {
  let summary = "number of the worker in its block";
  let description = [{
    In 0 .. `lumen.block_worker_count` - 1. Workers of a block share a processor, so
    that they wait for each other faster than for the whole team.

    ```mlir
    %id = lumen.block_worker_id
    ```
  }];
  let results = (outs Index:$result);
  let assemblyFormat = "attr-dict";
}

def Lumen_BlockWorkerCountOp : Lumen_Op<"block_worker_count", [Pure]> {
  let summary = "how many workers a block has";
  let description = [{
    ```mlir
    %count = lumen.block_worker_count
    ```
  }];
  let results = (outs Index:$result);
  let assemblyFormat = "attr-dict";
}

def Lumen_BlockBarrierOp : Lumen_Op<"block_barrier"> {
  let summary = "waits until every worker of the block is here";
  let description = [{
    What any of them wrote before is visible to all of them after it.

    ```mlir
    lumen.block_barrier
    ```
  }];
  let assemblyFormat = "attr-dict";
}

def Lumen_BlockScratchOp : Lumen_Op<"block_scratch"> {
  let summary = "memory that the workers of a block share";
  let description = [{
    The bytes from `offset` on of the memory of this block alone. They stay what they
    are from one kernel of a step to the next.

    ```mlir
    %s = lumen.block_scratch 64 : memref<4096xi8>
    ```
  }];
  let arguments = (ins I64Attr:$offset);
  let results = (outs MemRefOf<[AnyType]>:$result);
  let assemblyFormat = "$offset attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Lumen_ArriveOp : Lumen_Op<"arrive"> {
  let summary = "whether this worker is the last of some to be here";
  let description = [{
    Each of `count` workers of the team comes here once with the same `counter`. True
    for the last of them, which then sees what the others wrote before they came. The
    team has 4096 counters, and the last worker makes its counter ready for others.

    ```mlir
    %isLast = lumen.arrive %counter, %count
    ```
  }];
  let arguments = (ins Index:$counter, Index:$count);
  let results = (outs I1:$result);
  let assemblyFormat = "$counter `,` $count attr-dict";
}

#endif // LUMEN_WARP_OPS
