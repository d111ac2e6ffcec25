// SPDX-License-Identifier: Apache-2.0
#ifndef LUMEN_DIALECT
#define LUMEN_DIALECT

include "mlir/IR/OpBase.td"

def Lumen_Dialect : Dialect {
  let name = "lumen";
  let cppNamespace = "::mlir::lumen";
  let summary = "Quantized tensor programs for language models";
  let description = [{
    The `lumen` dialect describes the forward pass of a decoder-only transformer
    over quantized weights. A quantization format is a symbol (`lumen.format`)
    whose region decodes one block of bytes; the element type `!lumen.q<@format>`
    refers to it. Passes fuse dequantization into products, choose packed layouts
    and synthesize the kernels from the format's region, so nothing past the
    format description knows a format's name.
  }];
  let dependentDialects = ["arith::ArithDialect", "tensor::TensorDialect"];
  let hasConstantMaterializer = 1;
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
  let hasOperationAttrVerify = 1;
  let hasRegionArgAttrVerify = 1;
  let extraClassDeclaration = [{
    /// Argument attribute: the name of the file's tensor that feeds this argument.
    static constexpr StringLiteral kNameAttr = "lumen.name";
    /// Argument attribute (#lumen.packed): the layout of a packed weight of a public function.
    static constexpr StringLiteral kTileAttr = "lumen.tile";
    /// Function attribute: the schedule of a kernel, a KernelKind.
    static constexpr StringLiteral kKernelAttr = "lumen.kernel";
    /// Function attribute (array of i64) of a kernel of tensors: the arguments that are the sizes of
    /// its results which their types leave open, in order.
    static constexpr StringLiteral kResultSizesAttr = "lumen.result_sizes";
    /// Argument attribute (i64): the result of the function on tensors that this buffer holds.
    static constexpr StringLiteral kResultAttr = "lumen.result";
    /// Argument attribute (unit): an out argument of a public function; what it holds before is not read.
    static constexpr StringLiteral kOutAttr = "lumen.out";
    /// Argument attribute (i64): an out argument has as many rows as the argument of this number.
    static constexpr StringLiteral kRowsAttr = "lumen.rows";
    /// Argument attribute (unit): the rows of this buffer are tokens, at most `lumen.max_tokens`,
    /// because the memory for intermediates is counted in them.
    static constexpr StringLiteral kTokensAttr = "lumen.tokens";
    /// Argument attribute (unit): the arena that holds a function's intermediates.
    static constexpr StringLiteral kArenaAttr = "lumen.arena";
    /// Name of the i64 constant with the bytes of a public function's arena, less its name.
    static constexpr StringLiteral kArenaSizePrefix = "lumen_arena_size_";
    /// Attribute (i64) of an op on register tiles: what it loads lane by lane is fetched so many
    /// bytes ahead.
    static constexpr StringLiteral kPrefetchAttr = "lumen.prefetch";
    /// Loop attribute (unit): workers need not wait for each other behind this scf.forall.
    static constexpr StringLiteral kNowaitAttr = "lumen.nowait";
    /// Loop attribute (unit): workers need not wait for each other behind this scf.forall where it
    /// has no iterations.
    static constexpr StringLiteral kOptionalAttr = "lumen.optional";
    /// Argument attribute (unit): the pointer to the worker that runs the function.
    static constexpr StringLiteral kWorkerAttr = "lumen.worker";
    /// Name of a public function's native entry, less the function's name.
    static constexpr StringLiteral kEntryPrefix = "lumen_entry_";
    /// Function attribute (unit): a loop that kernels share.
    static constexpr StringLiteral kLoopAttr = "lumen.loop";
    /// Function attribute (unit): functions of other objects call it by its name.
    static constexpr StringLiteral kLinkedAttr = "lumen.linked";
    /// Name of such a function, less the name that it had before.
    static constexpr StringLiteral kLinkedPrefix = "lumen_kernel_";
    /// The runtime's function behind `lumen.barrier`.
    static constexpr StringLiteral kBarrierFunction = "lumen_barrier";
    /// The same where workers are warps.
    static constexpr StringLiteral kGridBarrierFunction = "lumen_grid_barrier";
    /// The runtime's function behind `lumen.claim`.
    static constexpr StringLiteral kClaimFunction = "lumen_claim";
    /// The runtime's function that says the time in nanoseconds.
    static constexpr StringLiteral kClockFunction = "lumen_clock";
    /// The global that holds the calls and nanoseconds of every kernel.
    static constexpr StringLiteral kProfileGlobal = "lumen_profile";
    /// Name of the i64 constant with the bytes of a warp's scratch memory.
    static constexpr StringLiteral kScratchSizeGlobal = "lumen_scratch_size";
    /// The same of a block's memory.
    static constexpr StringLiteral kBlockSizeGlobal = "lumen_block_size";
    /// Call attribute (unit): every block of workers computes all of it where the buffers are
    /// small, and they do not wait for other blocks.
    static constexpr StringLiteral kInBlocksAttr = "lumen.in_blocks";
    /// Argument attribute (unit): whether the workers of a block do what stands in the kernel alone.
    static constexpr StringLiteral kIsInBlockAttr = "lumen.is_in_block";
    /// Name of the i64 constant with the most 64-bit words of a list of launches.
    static constexpr StringLiteral kLaunchWordsGlobal = "lumen_launch_words";
    /// Module attribute: the `#lumen.target` the module is compiled for.
    static constexpr StringLiteral kTargetAttr = "lumen.target";
    /// Module attribute (i64): the largest number of tokens of one step.
    static constexpr StringLiteral kMaxTokensAttr = "lumen.max_tokens";

    void registerTypes();
    void registerAttributes();
  }];
}

#endif // LUMEN_DIALECT
