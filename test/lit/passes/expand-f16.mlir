// SPDX-License-Identifier: Apache-2.0
//
// RUN: lumen-opt %s --lumen-expand-f16 | FileCheck %s
// RUN: sed 's/f16 = true/f16 = false/' %s | lumen-opt --lumen-expand-f16 | FileCheck %s --check-prefix=FORCE
// RUN: lumen-opt %s --lumen-expand-f16=force=true | FileCheck %s --check-prefix=FORCE

// The target of this module converts by itself.
module attributes {lumen.target = #lumen.target<name = "x86-64-v3",
    triple = "x86_64-unknown-linux-gnu", cpu = "x86-64-v3", features = "",
    vector_registers = 16, vector_bits = 256, fma = true, f16 = true, cache_line = 64,
    dot = <m = 1, n = 16, k = 2, lhs = si8, rhs = ui8, acc = i16, accumulates = false>,
    pair_dot = <m = 1, n = 8, k = 2, lhs = si16, rhs = si16, acc = i32, accumulates = false>,
    rows = 8, tokens = 4>} {
  // CHECK-LABEL: func.func @widen
  // CHECK: arith.extf
  // FORCE-LABEL: func.func @widen
  // FORCE-NOT: arith.extf
  // FORCE: arith.mulf
  // FORCE: arith.bitcast %{{.*}} : vector<8xi32> to vector<8xf32>
  func.func @widen(%h: vector<8xf16>) -> vector<8xf32> {
    %f = arith.extf %h : vector<8xf16> to vector<8xf32>
    return %f : vector<8xf32>
  }
  // FORCE-LABEL: func.func @narrow
  // FORCE-NOT: arith.truncf
  // FORCE: arith.trunci %{{.*}} : i32 to i16
  func.func @narrow(%f: f32) -> f16 {
    %h = arith.truncf %f : f32 to f16
    return %h : f16
  }
}
