// SPDX-License-Identifier: Apache-2.0
//
// Softmax stage by stage: one kernel, one loop over tiles of rows, vectors.
//
// RUN: lumen-opt %s --target=x86-64-v3 --lumen-lumen-to-fused | FileCheck %s --check-prefix=FUSED
// RUN: lumen-opt %s --target=x86-64-v3 --lumen-lumen-to-fused --lumen-fused-to-loops \
// RUN:   | FileCheck %s --check-prefix=LOOPS
// RUN: lumen-opt %s --target x86-64-v3 --pass-pipeline='builtin.module(lumen-raise-linalg, \
// RUN:     lumen-prepare-tensors, lumen-form-kernels, lumen-bufferize, lumen-synthesize-tensors, \
// RUN:     lumen-vectorize-tensors)' | FileCheck %s --check-prefix=VECTOR
// RUN: lumen-opt %s --target=native --lumen-compile | FileCheck %s --check-prefix=LLVM
// RUN: not lumen-opt %s --target=i386 --lumen-compile 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// RUN: not lumen-opt %s --lumen-compile 2>&1 | FileCheck %s --check-prefix=MISSING

// FUSED: func.func @softmax
// FUSED-NEXT: %[[Y:.*]] = call @[[KERNEL:.*]](%{{.*}}) : (tensor<64x256xf32>) -> tensor<64x256xf32>
// FUSED-NEXT: return %[[Y]]
// FUSED: func.func private @[[KERNEL]]
// FUSED-SAME: lumen.kernel = "tensor"

// LOOPS: func.func private
// LOOPS-NOT: memref.alloc(
// LOOPS: scf.forall
// LOOPS-DAG: memref.alloca
// LOOPS: math.exp
// LOOPS: arith.divf
// LOOPS-NOT: scf.forall
// LOOPS: return

// VECTOR-NOT: linalg.
// VECTOR: vector.load
// VECTOR: arith.divf {{.*}} : vector<8xf32>
// VECTOR: vector.store

// LLVM: llvm.func @lumen_entry_softmax
// UNKNOWN: error: unknown target 'i386'; there are native, x86-64-v4
// MISSING: error: needs the module attribute lumen.target (lumen-opt --target=native gives it one)
func.func @softmax(%x: tensor<64x256xf32>) -> tensor<64x256xf32> {
  %e = tensor.empty() : tensor<64x256xf32>
  %y = linalg.softmax dimension(1) ins(%x : tensor<64x256xf32>) outs(%e : tensor<64x256xf32>) -> tensor<64x256xf32>
  return %y : tensor<64x256xf32>
}
