// RUN: split-file %s %t
// RUN: lumen-opt %t/good-loops.mlir -lumen-check-stage=stage=loops | FileCheck %s
// RUN: lumen-opt %t/loops.mlir -pass-pipeline='builtin.module(lumen-check-stage{stage=loops})' -split-input-file -verify-diagnostics
// RUN: lumen-opt %t/vector.mlir -pass-pipeline='builtin.module(lumen-check-stage{stage=vector})' -split-input-file -verify-diagnostics
// RUN: lumen-opt %t/llvm.mlir -pass-pipeline='builtin.module(lumen-check-stage{stage=llvm})' -split-input-file -verify-diagnostics
// RUN: lumen-opt %t/unknown.mlir -pass-pipeline='builtin.module(lumen-check-stage{stage=asm})' -verify-diagnostics

//--- good-loops.mlir
// Scratch of a worker may be written anywhere.
// CHECK-LABEL: func.func private @kernel
func.func private @kernel(%x: memref<8xf32>) attributes {lumen.kernel = "rows"} {
  %zero = arith.constant 0.0 : f32
  %c0 = arith.constant 0 : index
  %scratch = memref.alloca() : memref<8xf32>
  memref.store %zero, %scratch[%c0] : memref<8xf32>
  scf.forall (%i) in (8) {
    memref.store %zero, %x[%i] : memref<8xf32>
  }
  return
}
// A register tile, and the buffer it is a slice of.
func.func private @product(%x: memref<?x8xf32>, %y: memref<8xf32>) attributes {lumen.kernel = "product"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x8xf32> to tensor<?x8xf32>
  scf.forall (%i) in (1) {
    %tile = tensor.extract_slice %0[%i, 0] [1, 8] [1, 1] : tensor<?x8xf32> to tensor<8xf32>
    %zeros = arith.constant dense<0.0> : tensor<8xf32>
    %sum = linalg.add ins(%tile, %tile : tensor<8xf32>, tensor<8xf32>) outs(%zeros : tensor<8xf32>) -> tensor<8xf32>
    bufferization.materialize_in_destination %sum in restrict writable %y : (tensor<8xf32>, memref<8xf32>) -> ()
  }
  return
}
func.func @step(%x: memref<8xf32>, %y: memref<?xf32>) {
  %c0 = arith.constant 0 : index
  %n = memref.dim %y, %c0 : memref<?xf32>
  %z = memref.alloc(%n) : memref<?xf32>
  call @kernel(%x) : (memref<8xf32>) -> ()
  return
}

//--- loops.mlir
func.func private @kernel(%x: memref<8xf32>) attributes {lumen.kernel = "rows"} {
  %zero = arith.constant 0.0 : f32
  %c0 = arith.constant 0 : index
  // expected-error @+1 {{'memref.store' op writes a shared buffer outside of the parallel loops of its kernel}}
  memref.store %zero, %x[%c0] : memref<8xf32>
  return
}

// -----

// expected-error @+1 {{has tensors in its signature, which the loops stage has replaced by buffers}}
func.func private @kernel(%x: tensor<8xf32>) attributes {lumen.kernel = "rows"} {
  return
}

// -----

func.func private @kernel(%x: memref<?x8xf32>) attributes {lumen.kernel = "product"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x8xf32> to tensor<?x8xf32>
  // expected-error @+1 {{'lumen.add' op is not allowed in the loops stage}}
  %1 = lumen.add %0, %0 : tensor<?x8xf32>
  return
}

// -----

func.func @step(%x: memref<8xf32>) {
  // expected-error @+1 {{'scf.forall' op is not allowed outside of a kernel}}
  scf.forall (%i) in (8) {
  }
  return
}

// -----

func.func private @kernel(%x: memref<8xf32>) attributes {lumen.kernel = "rows"} {
  // expected-error @+1 {{'bufferization.to_tensor' op works on tensors, which only product kernels have in the loops stage}}
  %0 = bufferization.to_tensor %x restrict : memref<8xf32> to tensor<8xf32>
  return
}

// -----

func.func private @kernel(%x: memref<8xf32>) attributes {lumen.kernel = "product"} {
  %zeros = arith.constant dense<0.0> : tensor<8xf32>
  // expected-error @+1 {{'linalg.exp' op computes outside of the parallel loops of its kernel}}
  %ones = linalg.exp ins(%zeros : tensor<8xf32>) outs(%zeros : tensor<8xf32>) -> tensor<8xf32>
  return
}

// -----

func.func private @kernel(%x: memref<8xf32>) attributes {lumen.kernel = "product"} {
  scf.forall (%i) in (8) {
    // expected-error @+1 {{'linalg.exp' op in the loops stage works on register tiles, which are tensors of known sizes, got 'memref<8xf32>'}}
    linalg.exp ins(%x : memref<8xf32>) outs(%x : memref<8xf32>)
  }
  return
}

// -----

func.func private @kernel(%x: memref<?xf32>) attributes {lumen.kernel = "product"} {
  %0 = bufferization.to_tensor %x restrict : memref<?xf32> to tensor<?xf32>
  scf.forall (%i) in (8) {
    // expected-error @+1 {{'linalg.exp' op in the loops stage works on register tiles, which are tensors of known sizes, got 'tensor<?xf32>'}}
    %1 = linalg.exp ins(%0 : tensor<?xf32>) outs(%0 : tensor<?xf32>) -> tensor<?xf32>
  }
  return
}

// -----

func.func private @kernel(%n: index) attributes {lumen.kernel = "product"} {
  // expected-error @+1 {{'tensor.empty' op makes a tensor of open size in the loops stage, where only buffers seen as tensors have one, got 'tensor<?xf32>'}}
  %0 = tensor.empty(%n) : tensor<?xf32>
  return
}

//--- vector.mlir
func.func private @kernel(%x: memref<8xf32>) attributes {lumen.kernel = "rows"} {
  scf.forall (%i) in (8) {
    %zero = arith.constant 0.0 : f32
    // expected-error @+1 {{'linalg.fill' op is not allowed in the vector stage}}
    linalg.fill ins(%zero : f32) outs(%x : memref<8xf32>)
  }
  return
}

// -----

func.func private @kernel() attributes {lumen.kernel = "rows"} {
  // expected-error @+1 {{'tensor.empty' op works on tensors, which the vector stage has replaced by buffers and vectors}}
  %0 = tensor.empty() : tensor<8xf32>
  return
}

// -----

func.func @step() {
  // expected-error @+1 {{'memref.alloc' op is not allowed in the vector stage}}
  %0 = memref.alloc() : memref<8xf32>
  return
}

//--- llvm.mlir
llvm.func internal @hidden() {
  llvm.return
}
llvm.func @lumen_entry_f() {
  llvm.return
}
llvm.func @lumen_barrier(!llvm.ptr)

// -----

// expected-error @+1 {{is visible outside of the module but is no entry (lumen_entry_*)}}
llvm.func @f() {
  llvm.return
}

// -----

// expected-error @+1 {{'func.func' op is not allowed in the llvm stage}}
func.func @f() {
  return
}

//--- unknown.mlir
// expected-error @+1 {{unknown stage 'asm', expected loops, vector or llvm}}
module {}
