// RUN: split-file %s %t
// RUN: lumen-opt %t/good-linalg.mlir -lumen-check-stage=stage=linalg | FileCheck %s
// RUN: lumen-opt %t/linalg.mlir -pass-pipeline='builtin.module(lumen-check-stage{stage=linalg})' -split-input-file -verify-diagnostics
// RUN: lumen-opt %t/vector.mlir -pass-pipeline='builtin.module(lumen-check-stage{stage=vector})' -split-input-file -verify-diagnostics
// RUN: lumen-opt %t/llvm.mlir -pass-pipeline='builtin.module(lumen-check-stage{stage=llvm})' -split-input-file -verify-diagnostics
// RUN: lumen-opt %t/unknown.mlir -pass-pipeline='builtin.module(lumen-check-stage{stage=asm})' -verify-diagnostics

//--- good-linalg.mlir
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
func.func @step(%x: memref<8xf32>, %y: memref<?xf32>) {
  %c0 = arith.constant 0 : index
  %n = memref.dim %y, %c0 : memref<?xf32>
  %z = memref.alloc(%n) : memref<?xf32>
  call @kernel(%x) : (memref<8xf32>) -> ()
  return
}

//--- linalg.mlir
func.func private @kernel(%x: memref<8xf32>) attributes {lumen.kernel = "rows"} {
  %zero = arith.constant 0.0 : f32
  %c0 = arith.constant 0 : index
  // expected-error @+1 {{'memref.store' op writes a shared buffer outside of the parallel loops of its kernel}}
  memref.store %zero, %x[%c0] : memref<8xf32>
  return
}

// -----

// expected-error @+1 {{has tensors in its signature, which the linalg stage has replaced by buffers}}
func.func private @kernel(%x: tensor<8xf32>) attributes {lumen.kernel = "rows"} {
  return
}

// -----

func.func private @kernel(%x: memref<?x8xf32>) attributes {lumen.kernel = "rows"} {
  %0 = bufferization.to_tensor %x restrict : memref<?x8xf32> to tensor<?x8xf32>
  // expected-error @+1 {{'lumen.add' op is not allowed in the linalg stage}}
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
// expected-error @+1 {{unknown stage 'asm', expected linalg, vector or llvm}}
module {}
