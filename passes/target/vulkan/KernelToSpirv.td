// SPDX-License-Identifier: Apache-2.0
//
// Passes on the module of a kernel for Vulkan, in the order in which the pipeline
// runs them. They leave modules for others alone.
#ifndef LUMEN_PASSES_KERNEL_TO_SPIRV
#define LUMEN_PASSES_KERNEL_TO_SPIRV

include "mlir/Pass/PassBase.td"

def LowerWorkgroupsPass : Pass<"lumen-lower-workgroups", "::mlir::ModuleOp"> {
  let summary = "warps as workgroups of Vulkan";
  let description = [{
    A lane is an invocation of a workgroup, and a worker a workgroup. Lanes give each
    other values through the memory of the workgroup, since subgroups may be smaller.

    Before:

    ```mlir
    %lane = lumen.lane
    %y = lumen.shuffle %x, %from : i32
    ```

    After:

    ```mlir
    spirv.GlobalVariable @exchanged : !spirv.ptr<!spirv.array<32 x i32>, Workgroup>
    …
    spirv.Store "Workgroup" %own, %x : i32
    spirv.ControlBarrier <Workgroup>, <Workgroup>, <AcquireRelease|WorkgroupMemory>
    %y = spirv.Load "Workgroup" %other : i32
    spirv.ControlBarrier <Workgroup>, <Workgroup>, <AcquireRelease|WorkgroupMemory>
    ```
  }];
  let dependentDialects = ["::mlir::lumen::LumenDialect", "::mlir::arith::ArithDialect",
    "::mlir::spirv::SPIRVDialect"];
}

def LowerBuffersPass : Pass<"lumen-lower-buffers", "::mlir::ModuleOp"> {
  let summary = "buffers as addresses of a device's memory";
  let description = [{
    A kernel takes no arguments: the push constant is the address of its words, of 64
    bits each. A buffer among them is an address and the sizes that its type leaves
    open. Scratch memory is that of the workgroup, and allocations are an invocation's.

    Before:

    ```mlir
    func.func @kernel(%a: memref<8xf32>) attributes {lumen.kernel = "rows"} {
      %x = memref.load %a[%i] : memref<8xf32>
      …
    }
    ```

    After:

    ```mlir
    func.func @kernel() attributes {lumen.kernel = "rows"} {
      …
      %address = arith.addi %a, %offset : i64
      %pointer = spirv.ConvertUToPtr %address : i64 to !spirv.ptr<f32, PhysicalStorageBuffer>
      %x = spirv.Load "PhysicalStorageBuffer" %pointer ["Aligned", 4] : f32
      …
    }
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::spirv::SPIRVDialect",
    "::mlir::vector::VectorDialect"];
}

def ScalarizeVectorsPass : Pass<"lumen-scalarize-vectors", "::mlir::ModuleOp"> {
  let summary = "compute long vectors element by element";
  let description = [{
    SPIR-V has vectors of at most four elements.

    Before:

    ```mlir
    %y = arith.andi %x, %mask : vector<16xi8>
    %low = vector.extract_strided_slice %y {offsets = [0], sizes = [2], strides = [1]} : vector<16xi8> to vector<2xi8>
    ```

    After:

    ```mlir
    %y0 = arith.andi %x0, %c15 : i8
    %y1 = arith.andi %x1, %c15 : i8
    …
    %low = vector.from_elements %y0, %y1 : vector<2xi8>
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::vector::VectorDialect"];
}

def ConvertToSpirvPass : Pass<"lumen-convert-to-spirv", "::mlir::ModuleOp"> {
  let summary = "make a shader of the kernel";
  let description = [{
    The module has one kernel, whose buffers are addresses by now. Its loops and
    branches stay structured, as SPIR-V wants them.

    After:

    ```mlir
    spirv.module PhysicalStorageBuffer64 GLSL450 requires #spirv.vce<v1.6, …> {
      spirv.func @main() "None" { … }
      spirv.EntryPoint "GLCompute" @main, @arguments, …
      spirv.ExecutionMode @main "LocalSize", 32, 1, 1
    }
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::spirv::SPIRVDialect"];
}

#endif // LUMEN_PASSES_KERNEL_TO_SPIRV
