// SPDX-License-Identifier: Apache-2.0
//
// RUN: lumen-opt %s --lumen-expand-f16 | FileCheck %s
// RUN: lumen-opt %s --lumen-expand-f16=force=true | FileCheck %s --check-prefix=FORCE

// The target of this module converts by itself.
module attributes {lumen.target = #lumen.target<name = "x86-64-v3",
    triple = "x86_64-unknown-linux-gnu", cpu = "x86-64-v3", features = "", dot4 = "avx2",
    vector_bits = 256, rows = 8, tokens = 4>} {
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
