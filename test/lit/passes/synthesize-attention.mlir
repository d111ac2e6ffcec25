// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s --split-input-file --lumen-synthesize-attention --canonicalize --cse | FileCheck %s

// 14 query heads on 2 KV heads. One token has 7 rows per KV head, tiles have 8.
// CHECK-LABEL: func.func private @attention_14x64_2
// CHECK-SAME:    %[[Q:[a-z0-9]+]]: memref<?x896xf32>, %[[K:[a-z0-9]+]]: memref<24x2x?x64x16xf16>, %[[V:[a-z0-9]+]]: memref<24x2x?x16x64xf16>
// CHECK-SAME:    %[[LAYER:[a-z0-9]+]]: index, %[[POSITIONS:[a-z0-9]+]]: memref<?xi32>, %[[PAGES:[a-z0-9]+]]: memref<?x?xi32>, %[[RUNS:[a-z0-9]+]]: memref<?x3xi32>, %[[OUT:[a-z0-9]+]]: memref<?x896xf32>
// CHECK-DAG:   %[[COUNT:.*]] = memref.dim %[[RUNS]], %c0
// CHECK-DAG:   %[[TOKENS:.*]] = memref.dim %[[Q]], %c0
// CHECK-DAG:   %[[VALUES:.*]] = memref.collapse_shape %[[V]] {{.*}} into memref<24x2x?x64xf16>
// CHECK-DAG:   %[[QUERIES:.*]] = memref.alloca() {alignment = 64 : i64} : memref<8x64xf32>
// Parts of single tokens that the whole team shares.
// CHECK-DAG:   %[[SHARED:.*]] = memref.alloc() : memref<2x4x64x7x64xf32>
// Single tokens where there are as many runs. Other runs are cut into tiles.
// CHECK:       %[[SINGLE:.*]] = arith.cmpi eq, %[[TOKENS]], %[[COUNT]]
// CHECK:       %[[CUT:.*]] = scf.for %[[R:.*]] = %c0 to %[[COUNT]] step %c1
// CHECK:         memref.load %[[RUNS]][%[[R]], %c1]
// CHECK:         arith.ceildivui %{{.*}}, %c8
// CHECK:       %[[TILES:.*]] = arith.select %[[SINGLE]], %[[COUNT]], %[[CUT]]
// CHECK:       lumen.worker_count
// The parts of the longest sequence.
// CHECK:       scf.for
// CHECK:         memref.load %[[POSITIONS]]
// CHECK:         arith.ceildivui %{{.*}}, %c512
// CHECK:       %[[PARTS:.*]] = arith.select %{{.*}}, %{{.*}}, %c1
// CHECK:       %[[WHOLE:.*]] = arith.cmpi eq, %[[PARTS]], %c1
// CHECK:       scf.forall (%[[HEAD:[a-z0-9]+]], %{{.*}}, %[[PART:[a-z0-9]+]]) in (2, %[[TILES]], %[[PARTS]])
// CHECK-NOT:     memref.alloca
// CHECK:         scf.if %[[SINGLE]]
// CHECK:           %[[NUMBER:.*]] = memref.load %[[RUNS]][%{{.*}}, %c2]
// CHECK:           %[[SEQUENCE:.*]] = arith.index_castui %[[NUMBER]]
// Scores of two blocks of 16 positions and 7 rows.
// CHECK:           scf.for %[[P:[a-z0-9]+]] = %[[PART]] to %{{.*}} step %c1
// CHECK:           %[[BEGIN:.*]] = arith.muli %[[P]], %c512
// CHECK:           scf.for %{{.*}} = %[[BEGIN]] to %{{.*}} step %c64
// CHECK:             %[[PAGE:.*]] = memref.load %[[PAGES]][%[[SEQUENCE]], %{{.*}}]
// CHECK:             arith.index_castui %[[PAGE]]
// CHECK:             %{{.*}}:14 = scf.for %[[D:.*]] = %c0 to %c64 step %c1
// CHECK:               %[[KEY:.*]] = vector.load %[[K]][%[[LAYER]], %[[HEAD]], %{{.*}}, %[[D]], %c0] : {{.*}}, vector<16xf16>
// CHECK:               arith.extf %[[KEY]] : vector<16xf16> to vector<16xf32>
// CHECK:               vector.load %[[K]]
// CHECK:               vector.broadcast {{.*}} : f32 to vector<16xf32>
// CHECK:               arith.mulf {{.*}} fastmath<contract> : vector<16xf32>
// CHECK:               arith.addf {{.*}} fastmath<contract> : vector<16xf32>
// The softmax of 64 positions.
// CHECK:             arith.cmpi sge, {{.*}} : vector<64xi32>
// CHECK:             vector.reduction <maxnumf>
// CHECK:             arith.shli {{.*}} : vector<64xi32>
// CHECK:             arith.shli {{.*}} : vector<7xi32>
// The values, in two halves of the head.
// CHECK:             scf.for %[[E:.*]] = %c0 to %c64 step %c32
// CHECK:               %{{.*}}:7 = scf.for
// CHECK:                 vector.load %[[VALUES]][%[[LAYER]], %[[HEAD]], %{{.*}}, %[[E]]] : {{.*}}, vector<32xf16>
// The state of the part is joined with those before it, or given to the team.
// CHECK:           scf.if %[[WHOLE]]
// CHECK:             arith.shli {{.*}} : vector<7xi32>
// CHECK:           } else {
// CHECK:             vector.store %{{.*}}, %[[SHARED]][%[[HEAD]], %{{.*}}, %[[PART]], %{{.*}}, %c0]
// CHECK:           scf.if %[[WHOLE]]
// CHECK:           vector.store %{{.*}}, %[[OUT]]
// CHECK:         } else {
// CHECK:             %{{.*}}:16 = scf.for
// CHECK:             %{{.*}}:8 = scf.for
// The parts in their order, if there are any.
// CHECK:       %[[MERGED:.*]] = arith.select %[[WHOLE]], %c0, %c2
// CHECK:       scf.forall (%[[HEAD2:[a-z0-9]+]], %{{.*}}) in (%[[MERGED]], %[[COUNT]])
// CHECK:         scf.for %[[P2:[a-z0-9]+]] = %c0 to %{{.*}} step %c1
// CHECK:           vector.load %[[SHARED]][%[[HEAD2]], %{{.*}}, %[[P2]], %{{.*}}, %c0]
// CHECK:         vector.store %{{.*}}, %[[OUT]]
// CHECK-NOT:   lumen.
// CHECK-NOT:   tensor<
// CHECK:       return
func.func private @attention_14x64_2(%q: memref<?x896xf32>, %k: memref<24x2x?x64x16xf16>,
    %v: memref<24x2x?x16x64xf16>, %layer: index, %positions_at: memref<?xi32>,
    %pages_at: memref<?x?xi32>, %runs_at: memref<?x3xi32>, %out: memref<?x896xf32>)
    attributes {lumen.kernel = "attention"} {
  %positions = bufferization.to_tensor %positions_at restrict : memref<?xi32> to tensor<?xi32>
  %pages = bufferization.to_tensor %pages_at restrict : memref<?x?xi32> to tensor<?x?xi32>
  %runs = bufferization.to_tensor %runs_at restrict : memref<?x3xi32> to tensor<?x3xi32>
  %0 = bufferization.to_tensor %q restrict : memref<?x896xf32> to tensor<?x896xf32>
  %1 = bufferization.to_tensor %k restrict
    : memref<24x2x?x64x16xf16> to tensor<24x2x?x64x16xf16>
  %2 = bufferization.to_tensor %v restrict
    : memref<24x2x?x16x64xf16> to tensor<24x2x?x16x64xf16>
  %3 = lumen.attention %0, %1, %2, %layer, %positions, %pages, %runs
      {heads = 14 : i64, kv_heads = 2 : i64, scale = 1.250000e-01 : f32}
    : tensor<?x896xf32>, tensor<24x2x?x64x16xf16>, tensor<24x2x?x16x64xf16>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  bufferization.materialize_in_destination %3 in restrict writable %out
    : (tensor<?x896xf32>, memref<?x896xf32>) -> ()
  return
}

// -----

module attributes {lumen.target = #lumen.target<name = "x86-64-v3",
    triple = "x86_64-unknown-linux-gnu", cpu = "x86-64-v3", features = "",
    vector_registers = 16, vector_bits = 256, fma = true, f16 = true, cache_line = 64,
    dot = <m = 1, n = 16, k = 2, lhs = si8, rhs = ui8, acc = i16, accumulates = false>,
    pair_dot = <m = 1, n = 8, k = 2, lhs = si16, rhs = si16, acc = i32, accumulates = false>,
    rows = 8, tokens = 4>} {

// 256-bit registers hold 4 rows of 16 lanes; a group of 8 needs no tile of its own.
// The quantization follows in the tile, and there is no float32 result.
// CHECK-LABEL: func.func private @attention_quantize
// CHECK-SAME:    %[[CODES:[a-z0-9]+]]: memref<?x384xi8>, %[[SCALES:[a-z0-9]+]]: memref<?x24xf32>
// CHECK-SAME:    %[[OFFSETS:[a-z0-9]+]]: memref<?x24xi32>, %[[SUMS:[a-z0-9]+]]: memref<?x24xf32>
// CHECK:       scf.forall
// CHECK:         scf.for %{{.*}} = %{{.*}} to %{{.*}} step %c64
// CHECK-COUNT-2:   %{{.*}}:4 = scf.for %{{.*}} = %c0 to %c48
// CHECK:           scf.for %{{.*}} = %c0 to %c48 step %c16
// CHECK-COUNT-2:     %{{.*}}:4 = scf.for {{.*}} -> (vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>)
// CHECK:         arith.divf
// CHECK:           vector.store %{{.*}}, %[[CODES]]{{.*}} vector<16xi8>
// CHECK:           vector.store %{{.*}}, %[[SCALES]]
// CHECK:           vector.store %{{.*}}, %[[OFFSETS]]
// CHECK:           vector.store %{{.*}}, %[[SUMS]]
func.func private @attention_quantize(%q: memref<?x384xf32>, %k: memref<1x1x?x48x16xf32>,
    %v: memref<1x1x?x16x48xf32>, %layer: index, %positions_at: memref<?xi32>,
    %pages_at: memref<?x?xi32>, %runs_at: memref<?x3xi32>, %codes: memref<?x384xi8>,
    %scales: memref<?x24xf32>, %offsets: memref<?x24xi32>, %sums: memref<?x24xf32>)
    attributes {lumen.kernel = "attention"} {
  %positions = bufferization.to_tensor %positions_at restrict : memref<?xi32> to tensor<?xi32>
  %pages = bufferization.to_tensor %pages_at restrict : memref<?x?xi32> to tensor<?x?xi32>
  %runs = bufferization.to_tensor %runs_at restrict : memref<?x3xi32> to tensor<?x3xi32>
  %0 = bufferization.to_tensor %q restrict : memref<?x384xf32> to tensor<?x384xf32>
  %1 = bufferization.to_tensor %k restrict : memref<1x1x?x48x16xf32> to tensor<1x1x?x48x16xf32>
  %2 = bufferization.to_tensor %v restrict : memref<1x1x?x16x48xf32> to tensor<1x1x?x16x48xf32>
  %3 = lumen.attention %0, %1, %2, %layer, %positions, %pages, %runs
      {heads = 8 : i64, kv_heads = 1 : i64, scale = 1.250000e-01 : f32}
    : tensor<?x384xf32>, tensor<1x1x?x48x16xf32>, tensor<1x1x?x16x48xf32>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  %c, %s, %o, %m = lumen.quantize %3 {group = 16 : i64, sum_group = 16 : i64}
    : tensor<?x384xf32>
    -> tensor<?x384xi8>, tensor<?x24xf32>, tensor<?x24xi32>, tensor<?x24xf32>
  bufferization.materialize_in_destination %c in restrict writable %codes
    : (tensor<?x384xi8>, memref<?x384xi8>) -> ()
  bufferization.materialize_in_destination %s in restrict writable %scales
    : (tensor<?x24xf32>, memref<?x24xf32>) -> ()
  bufferization.materialize_in_destination %o in restrict writable %offsets
    : (tensor<?x24xi32>, memref<?x24xi32>) -> ()
  bufferization.materialize_in_destination %m in restrict writable %sums
    : (tensor<?x24xf32>, memref<?x24xf32>) -> ()
  return
}

}

// -----

module attributes {lumen.target = #lumen.target<name = "armv8-a",
    triple = "aarch64-unknown-linux-gnu", cpu = "generic", features = "",
    vector_registers = 32, vector_bits = 128, fma = true, f16 = true, cache_line = 64,
    dot = <m = 1, n = 8, k = 1, lhs = si8, rhs = si8, acc = i16>,
    rows = 8, tokens = 3>} {

// A product takes a factor from any lane of a register: one load has those of 4
// elements. 8 rows of 8 lanes, as a key or a value is converted for all rows.
// CHECK-LABEL: func.func private @factors_from_lanes
// CHECK-SAME:    %{{[a-z0-9]+}}: memref<?x512xf32>, %[[K:[a-z0-9]+]]: memref<1x1x?x64x16xf16>, %[[V:[a-z0-9]+]]: memref<1x1x?x16x64xf16>
// CHECK:       scf.forall
// CHECK:         scf.for %{{.*}} = %{{.*}} to %{{.*}} step %c64
// CHECK:           %{{.*}}:8 = scf.for %[[D:.*]] = %c0 to %c64 step %c4
// CHECK-COUNT-8:     vector.load {{.*}} : memref<8x64xf32>, vector<4xf32>
// CHECK:             vector.load %[[K]]{{.*}}, %[[D]], %{{.*}}] : {{.*}}, vector<8xf16>
// CHECK:             vector.shuffle %{{.*}} [0, 0, 0, 0, 0, 0, 0, 0]
// CHECK:             vector.load %[[K]]
// CHECK:             vector.shuffle %{{.*}} [1, 1, 1, 1, 1, 1, 1, 1]
// The softmax of 16 positions at a time. Rows that see a part of the tile hide
// the others before.
// CHECK:           scf.if
// CHECK:             arith.select {{.*}} : vector<16xi1>, vector<16xf32>
// CHECK:           vector.reduction <maxnumf>
// CHECK-COUNT-4:   arith.shli {{.*}} : vector<16xi32>
// The values, of 4 positions and then one by one.
// CHECK:           scf.for %{{.*}} = %c0 to %c64 step %c8
// CHECK:             %{{.*}}:8 = scf.for %{{.*}} = %c0 to %{{.*}} step %c4
// CHECK:             %{{.*}}:8 = scf.for %{{.*}} step %c1
func.func private @factors_from_lanes(%q: memref<?x512xf32>, %k: memref<1x1x?x64x16xf16>,
    %v: memref<1x1x?x16x64xf16>, %layer: index, %positions_at: memref<?xi32>,
    %pages_at: memref<?x?xi32>, %runs_at: memref<?x3xi32>, %out: memref<?x512xf32>)
    attributes {lumen.kernel = "attention"} {
  %positions = bufferization.to_tensor %positions_at restrict : memref<?xi32> to tensor<?xi32>
  %pages = bufferization.to_tensor %pages_at restrict : memref<?x?xi32> to tensor<?x?xi32>
  %runs = bufferization.to_tensor %runs_at restrict : memref<?x3xi32> to tensor<?x3xi32>
  %0 = bufferization.to_tensor %q restrict : memref<?x512xf32> to tensor<?x512xf32>
  %1 = bufferization.to_tensor %k restrict : memref<1x1x?x64x16xf16> to tensor<1x1x?x64x16xf16>
  %2 = bufferization.to_tensor %v restrict : memref<1x1x?x16x64xf16> to tensor<1x1x?x16x64xf16>
  %3 = lumen.attention %0, %1, %2, %layer, %positions, %pages, %runs
      {heads = 8 : i64, kv_heads = 1 : i64, scale = 1.250000e-01 : f32}
    : tensor<?x512xf32>, tensor<1x1x?x64x16xf16>, tensor<1x1x?x16x64xf16>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  bufferization.materialize_in_destination %3 in restrict writable %out
    : (tensor<?x512xf32>, memref<?x512xf32>) -> ()
  return
}

// Codes: 4 rows of 8 positions, beside whose sums of integers there are sums of
// floats. 16 bytes of a query serve 4 steps.
// CHECK-LABEL: func.func private @codes_from_lanes
// CHECK:       scf.for %{{.*}} = %c0 to %c16 step %c8
// CHECK:         %{{.*}}:4 = scf.for %{{.*}} = %c0 to %c8 step %c4
// CHECK-COUNT-4:   vector.load {{.*}} : memref<8x64xi8>, vector<16xi8>
// CHECK:           vector.load {{.*}}, vector<32xi8>
// CHECK-COUNT-4:   lumen.dot4 {{.*}} : vector<32xi8>, vector<4xi8>, vector<8xi32>
// CHECK:           vector.load {{.*}}, vector<32xi8>
// CHECK:         arith.sitofp {{.*}} : vector<8xi32> to vector<8xf32>
// CHECK:       scf.for %{{.*}} = %c0 to %c32 step %c8
// CHECK:       scf.for %{{.*}} = %c32 to %c64 step %c8
func.func private @codes_from_lanes(%q: memref<?x512xf32>, %k: memref<1x1x?x1088xi8>,
    %v: memref<1x1x?x1088xi8>, %layer: index, %positions_at: memref<?xi32>,
    %pages_at: memref<?x?xi32>, %runs_at: memref<?x3xi32>, %out: memref<?x512xf32>)
    attributes {lumen.kernel = "attention"} {
  %positions = bufferization.to_tensor %positions_at restrict : memref<?xi32> to tensor<?xi32>
  %pages = bufferization.to_tensor %pages_at restrict : memref<?x?xi32> to tensor<?x?xi32>
  %runs = bufferization.to_tensor %runs_at restrict : memref<?x3xi32> to tensor<?x3xi32>
  %0 = bufferization.to_tensor %q restrict : memref<?x512xf32> to tensor<?x512xf32>
  %1 = bufferization.to_tensor %k restrict : memref<1x1x?x1088xi8> to tensor<1x1x?x1088xi8>
  %2 = bufferization.to_tensor %v restrict : memref<1x1x?x1088xi8> to tensor<1x1x?x1088xi8>
  %3 = lumen.attention %0, %1, %2, %layer, %positions, %pages, %runs
      {heads = 8 : i64, kv_heads = 1 : i64, scale = 1.250000e-01 : f32}
    : tensor<?x512xf32>, tensor<1x1x?x1088xi8>, tensor<1x1x?x1088xi8>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  bufferization.materialize_in_destination %3 in restrict writable %out
    : (tensor<?x512xf32>, memref<?x512xf32>) -> ()
  return
}

}

// -----

// With a window, tiles begin at the one that holds the first position that any
// row sees.
// CHECK-LABEL: func.func private @window
// CHECK-SAME:    %[[Q:[a-z0-9]+]]: memref<?x512xf32>, %[[K:[a-z0-9]+]]: memref<1x8x?x64x16xf16>, %[[V:[a-z0-9]+]]: memref<1x8x?x16x64xf16>
// CHECK-SAME:    %[[LAYER:[a-z0-9]+]]: index, %[[POSITIONS:[a-z0-9]+]]: memref<?xi32>
// CHECK:       scf.forall
// CHECK:         memref.load %[[POSITIONS]]
// CHECK:         %[[MOST:.*]] = arith.maxui %{{.*}}, %c127
// CHECK:         %[[FIRST:.*]] = arith.subi %[[MOST]], %c127
// CHECK:         %[[TILE:.*]] = arith.divui %[[FIRST]], %c64
// CHECK:         %[[BEGIN:.*]] = arith.muli %[[TILE]], %c64
// CHECK:         arith.divui %[[BEGIN]], %c512
// CHECK:         %[[LATER:.*]] = arith.maxui %{{.*}}, %[[BEGIN]]
// CHECK:         scf.for %[[START:.*]] = %[[LATER]] to %{{.*}} step %c64
// CHECK:           arith.cmpi sge, {{.*}} : vector<64xi32>
// CHECK:           arith.cmpi slt, {{.*}} : vector<64xi32>
// CHECK:           arith.andi {{.*}} : vector<64xi1>
func.func private @window(%q: memref<?x512xf32>, %k: memref<1x8x?x64x16xf16>,
    %v: memref<1x8x?x16x64xf16>, %layer: index, %positions_at: memref<?xi32>,
    %pages_at: memref<?x?xi32>, %runs_at: memref<?x3xi32>, %out: memref<?x512xf32>)
    attributes {lumen.kernel = "attention"} {
  %positions = bufferization.to_tensor %positions_at restrict : memref<?xi32> to tensor<?xi32>
  %pages = bufferization.to_tensor %pages_at restrict : memref<?x?xi32> to tensor<?x?xi32>
  %runs = bufferization.to_tensor %runs_at restrict : memref<?x3xi32> to tensor<?x3xi32>
  %0 = bufferization.to_tensor %q restrict : memref<?x512xf32> to tensor<?x512xf32>
  %1 = bufferization.to_tensor %k restrict : memref<1x8x?x64x16xf16> to tensor<1x8x?x64x16xf16>
  %2 = bufferization.to_tensor %v restrict : memref<1x8x?x16x64xf16> to tensor<1x8x?x16x64xf16>
  %3 = lumen.attention %0, %1, %2, %layer, %positions, %pages, %runs
      {heads = 8 : i64, kv_heads = 8 : i64, scale = 1.250000e-01 : f32, window = 128 : i64}
    : tensor<?x512xf32>, tensor<1x8x?x64x16xf16>, tensor<1x8x?x16x64xf16>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  bufferization.materialize_in_destination %3 in restrict writable %out
    : (tensor<?x512xf32>, memref<?x512xf32>) -> ()
  return
}

// -----

// A cache of 8-bit codes: pages of 1,376 bytes for heads of 80, whose last group has
// 16 values. Scores are products of codes that start from minus the bias of the
// keys; scales join them per group, and the probabilities per group of the values.
// CHECK-LABEL: func.func private @attention_codes
// CHECK-SAME:    %[[Q:[a-z0-9]+]]: memref<?x240xf32>, %[[K:[a-z0-9]+]]: memref<4x3x?x1376xi8>, %[[V:[a-z0-9]+]]: memref<4x3x?x1376xi8>
// CHECK-DAG:   %[[CODES:.*]] = memref.alloca() {alignment = 64 : i64} : memref<8x80xi8>
// CHECK:       scf.forall
// CHECK:         arith.trunci {{.*}} : vector<32xi32> to vector<32xi8>
// CHECK:         arith.trunci {{.*}} : vector<16xi32> to vector<16xi8>
// CHECK:         scf.for %{{.*}} = %{{.*}} to %{{.*}} step %c64
// CHECK-COUNT-2:   scf.for %{{.*}} = %c0 to %c8 step %c1
// CHECK:           scf.for %{{.*}} = %c0 to %c4 step %c1
// CHECK:             vector.load %[[K]]{{.*}} vector<64xi8>
// CHECK:             lumen.dot4 {{.*}} {bits = 8 : i64}
// CHECK:           vector.load %[[K]]{{.*}} vector<32xi8>
// CHECK:           vector.bitcast {{.*}} : vector<32xi8> to vector<16xf16>
// CHECK:           vector.reduction <maxnumf>
// CHECK-COUNT-3:   vector.load %[[V]]{{.*}}, %c{{[0-9]+}}] : {{.*}} vector<32xi8>
func.func private @attention_codes(%q: memref<?x240xf32>, %k: memref<4x3x?x1376xi8>,
    %v: memref<4x3x?x1376xi8>, %layer: index, %positions_at: memref<?xi32>,
    %pages_at: memref<?x?xi32>, %runs_at: memref<?x3xi32>, %out: memref<?x240xf32>)
    attributes {lumen.kernel = "attention"} {
  %positions = bufferization.to_tensor %positions_at restrict : memref<?xi32> to tensor<?xi32>
  %pages = bufferization.to_tensor %pages_at restrict : memref<?x?xi32> to tensor<?x?xi32>
  %runs = bufferization.to_tensor %runs_at restrict : memref<?x3xi32> to tensor<?x3xi32>
  %0 = bufferization.to_tensor %q restrict : memref<?x240xf32> to tensor<?x240xf32>
  %1 = bufferization.to_tensor %k restrict : memref<4x3x?x1376xi8> to tensor<4x3x?x1376xi8>
  %2 = bufferization.to_tensor %v restrict : memref<4x3x?x1376xi8> to tensor<4x3x?x1376xi8>
  %3 = lumen.attention %0, %1, %2, %layer, %positions, %pages, %runs
      {heads = 3 : i64, kv_heads = 3 : i64, scale = 1.250000e-01 : f32}
    : tensor<?x240xf32>, tensor<4x3x?x1376xi8>, tensor<4x3x?x1376xi8>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  bufferization.materialize_in_destination %3 in restrict writable %out
    : (tensor<?x240xf32>, memref<?x240xf32>) -> ()
  return
}
