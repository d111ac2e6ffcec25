// SPDX-License-Identifier: Apache-2.0
//
// Each stage has a name, and does what its pipeline in `pipelines` does; all of
// them together are --lumen-compile.
//
// RUN: lumen-opt %S/../Inputs/qwen2-layer.mlir --pass-pipeline='%{pipeline-fused}' -o %t.fused
// RUN: lumen-opt %S/../Inputs/qwen2-layer.mlir --lumen-lumen-to-fused | diff %t.fused -
// RUN: lumen-opt %t.fused --pass-pipeline='%{pipeline-loops}' -o %t.loops
// RUN: lumen-opt %t.fused --lumen-fused-to-loops | diff %t.loops -
// RUN: lumen-opt %t.loops --pass-pipeline='%{pipeline-vector}' -o %t.vector
// RUN: lumen-opt %t.loops --lumen-loops-to-vector | diff %t.vector -
// RUN: lumen-opt %t.vector --pass-pipeline='%{pipeline-llvm}' -o %t.llvm
// RUN: lumen-opt %t.vector --lumen-vector-to-llvm | diff %t.llvm -
// RUN: lumen-opt %S/../Inputs/qwen2-layer.mlir --lumen-compile | diff %t.llvm -
//
// Options choose among the forms of a stage.
//
// RUN: lumen-opt %S/../Inputs/qwen2-layer.mlir --lumen-lumen-to-fused=activations=exact \
// RUN:   | FileCheck %s --check-prefix=EXACT
// RUN: lumen-opt %t.vector --lumen-vector-to-llvm=profile=true | FileCheck %s --check-prefix=PROFILE
// RUN: not lumen-opt %t.vector --lumen-compile=activations=int4 2>&1 | FileCheck %s --check-prefix=WRONG
//
// EXACT-NOT: lumen.quantize
// EXACT: lumen.qlinear activations(%{{.*}} : tensor<?x896xf32>)
// EXACT-NOT: lumen.quantize
// PROFILE: llvm.call @lumen_clock()
// WRONG: for the --activations option: Cannot find option named 'int4'!
