// RUN: lumen-opt %s -lumen-bufferize -split-input-file | FileCheck %s

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}

// A row-local kernel: a result per value, rows chosen by select_rows.
// CHECK-LABEL: func.func private @select_rms_norm_quantize_64(
// CHECK-SAME:    %[[X:[a-z0-9_]+]]: memref<?x64xf32>, %[[W:[a-z0-9_]+]]: memref<64xf32>, %[[ROWS:[a-z0-9_]+]]: memref<?xi32>,
// CHECK-SAME:    %[[CODES:[a-z0-9_]+]]: memref<?x64xi8> {lumen.result = 0 : i64}, %[[SCALES:[a-z0-9_]+]]: memref<?x2xf32> {lumen.result = 1 : i64},
// CHECK-SAME:    %[[OFFSETS:[a-z0-9_]+]]: memref<?x2xi32> {lumen.result = 2 : i64}, %[[SUMS:[a-z0-9_]+]]: memref<?x2xf32> {lumen.result = 3 : i64})
// CHECK-SAME:    attributes {lumen.kernel = "rows"}
// CHECK-DAG:     %[[XT:[a-z0-9_]+]] = bufferization.to_tensor %[[X]] restrict : memref<?x64xf32>
// CHECK-DAG:     %[[WT:[a-z0-9_]+]] = bufferization.to_tensor %[[W]] restrict : memref<64xf32>
// CHECK-DAG:     %[[RT:[a-z0-9_]+]] = bufferization.to_tensor %[[ROWS]] restrict : memref<?xi32>
// CHECK:         %[[SOME:[a-z0-9_]+]] = lumen.select_rows %[[XT]], %[[RT]]
// CHECK:         %[[NORM:[a-z0-9_]+]] = lumen.rms_norm %[[SOME]], %[[WT]]
// CHECK:         %[[C:[a-z0-9_]+]], %[[S:[a-z0-9_]+]], %[[O:[a-z0-9_]+]], %[[M:[a-z0-9_]+]] = lumen.quantize %[[NORM]]
// CHECK:         bufferization.materialize_in_destination %[[C]] in restrict writable %[[CODES]]
// CHECK:         bufferization.materialize_in_destination %[[S]] in restrict writable %[[SCALES]]
// CHECK:         bufferization.materialize_in_destination %[[O]] in restrict writable %[[OFFSETS]]
// CHECK:         bufferization.materialize_in_destination %[[M]] in restrict writable %[[SUMS]]
// CHECK-NEXT:    return
func.func private @select_rms_norm_quantize_64(%x: tensor<?x64xf32>, %w: tensor<64xf32>, %rows: tensor<?xi32>)
    -> (tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x2xi32>, tensor<?x2xf32>)
    attributes {lumen.kernel = "rows"} {
  %some = lumen.select_rows %x, %rows : tensor<?x64xf32>, tensor<?xi32> -> tensor<?x64xf32>
  %norm = lumen.rms_norm %some, %w {epsilon = 1.0e-06 : f32} : tensor<?x64xf32>, tensor<64xf32>
  %c, %s, %o, %m = lumen.quantize %norm {group = 32 : i64, sum_group = 32 : i64}
    : tensor<?x64xf32> -> tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x2xi32>, tensor<?x2xf32>
  return %c, %s, %o, %m : tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x2xi32>, tensor<?x2xf32>
}

// A packed weight is its bytes: 7 tiles of 2 spans of 512 codes and of 2 scales of 16 f16.
// CHECK-LABEL: func.func private @product(
// CHECK-SAME:    %{{[a-z0-9_]+}}: memref<?x64xi8>, %{{[a-z0-9_]+}}: memref<?x2xf32>, %{{[a-z0-9_]+}}: memref<?x2xi32>, %{{[a-z0-9_]+}}: memref<?x2xf32>,
// CHECK-SAME:    %[[W:[a-z0-9_]+]]: memref<7616xi8>, %[[OUT:[a-z0-9_]+]]: memref<?x100xf32> {lumen.result = 0 : i64})
// CHECK:         %[[WT:[a-z0-9_]+]] = lumen.from_bytes %[[W]] : memref<7616xi8> -> tensor<100x64x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>>
// CHECK:         %[[Y:[a-z0-9_]+]] = lumen.qlinear activations({{.*}}) weights(%[[WT]]
// CHECK:         bufferization.materialize_in_destination %[[Y]] in restrict writable %[[OUT]]
func.func private @product(%c: tensor<?x64xi8>, %s: tensor<?x2xf32>, %o: tensor<?x2xi32>,
    %m: tensor<?x2xf32>, %w: tensor<100x64x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>>)
    -> tensor<?x100xf32> attributes {lumen.kernel = "product"} {
  %y = lumen.qlinear activations(%c, %s, %o, %m : tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x2xi32>, tensor<?x2xf32>)
    weights(%w : tensor<100x64x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>>) -> tensor<?x100xf32>
  return %y : tensor<?x100xf32>
}

// The table keeps the file's layout (34 bytes per block); f32 elements are a weight by use.
// CHECK-LABEL: func.func private @embedding(
// CHECK-SAME:    %[[TOKENS:[a-z0-9_]+]]: memref<?xi32>, %[[TABLE:[a-z0-9_]+]]: memref<6800xi8>, %{{[a-z0-9_]+}}: memref<?x64xf32> {lumen.result = 0 : i64})
// CHECK-DAG:     bufferization.to_tensor %[[TOKENS]] restrict : memref<?xi32>
// CHECK-DAG:     lumen.from_bytes %[[TABLE]] : memref<6800xi8> -> tensor<100x64x!lumen.q<@q8_0>>
func.func private @embedding(%tokens: tensor<?xi32>, %table: tensor<100x64x!lumen.q<@q8_0>>)
    -> tensor<?x64xf32> attributes {lumen.kernel = "rows"} {
  %x = lumen.embedding %tokens, %table : tensor<?xi32>, tensor<100x64x!lumen.q<@q8_0>> -> tensor<?x64xf32>
  return %x : tensor<?x64xf32>
}

// CHECK-LABEL: func.func private @embedding_f32(
// CHECK-SAME:    %{{[a-z0-9_]+}}: memref<?xi32>, %[[TABLE:[a-z0-9_]+]]: memref<25600xi8>
// CHECK:         lumen.from_bytes %[[TABLE]] : memref<25600xi8> -> tensor<100x64xf32>
func.func private @embedding_f32(%tokens: tensor<?xi32>, %table: tensor<100x64xf32>)
    -> tensor<?x64xf32> attributes {lumen.kernel = "rows"} {
  %x = lumen.embedding %tokens, %table : tensor<?xi32>, tensor<100x64xf32> -> tensor<?x64xf32>
  return %x : tensor<?x64xf32>
}

// Caches are written in place and have no out argument.
// CHECK-LABEL: func.func private @append(
// CHECK-SAME:    %[[K:[a-z0-9_]+]]: memref<2x1x?x64x16xf16> {lumen.result = 0 : i64}, %{{[a-z0-9_]+}}: memref<?x64xf32>, %{{[a-z0-9_]+}}: index, %{{[a-z0-9_]+}}: memref<?xi32>)
// CHECK-DAG:     %[[KT:[a-z0-9_]+]] = bufferization.to_tensor %[[K]] restrict writable
// CHECK:         %[[NEW:[a-z0-9_]+]] = lumen.kv_append %[[KT]]
// CHECK:         bufferization.materialize_in_destination %[[NEW]] in writable %[[K]]
func.func private @append(%k: tensor<2x1x?x64x16xf16>, %x: tensor<?x64xf32>, %layer: index, %places: tensor<?xi32>)
    -> tensor<2x1x?x64x16xf16> attributes {lumen.kernel = "rows"} {
  %new = lumen.kv_append %k, %x, %layer, %places {kind = "key"} : tensor<2x1x?x64x16xf16>, tensor<?x64xf32>, tensor<?xi32>
  return %new : tensor<2x1x?x64x16xf16>
}

// CHECK-LABEL: func.func private @attention(
// CHECK-SAME:    %{{[a-z0-9_]+}}: memref<?x64xf32>, %{{[a-z0-9_]+}}: memref<2x1x?x64x16xf16>, %{{[a-z0-9_]+}}: memref<2x1x?x16x64xf16>, %{{[a-z0-9_]+}}: index, %{{[a-z0-9_]+}}: memref<?xi32>, %{{[a-z0-9_]+}}: memref<?x?xi32>, %{{[a-z0-9_]+}}: memref<?x3xi32>, %{{[a-z0-9_]+}}: memref<?x64xf32> {lumen.result = 0 : i64})
func.func private @attention(%q: tensor<?x64xf32>, %k: tensor<2x1x?x64x16xf16>, %v: tensor<2x1x?x16x64xf16>,
    %layer: index, %positions: tensor<?xi32>, %pages: tensor<?x?xi32>, %runs: tensor<?x3xi32>)
    -> tensor<?x64xf32> attributes {lumen.kernel = "attention"} {
  %a = lumen.attention %q, %k, %v, %layer, %positions, %pages, %runs
    {heads = 1 : i64, kv_heads = 1 : i64, scale = 0.125 : f32}
    : tensor<?x64xf32>, tensor<2x1x?x64x16xf16>, tensor<2x1x?x16x64xf16>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  return %a : tensor<?x64xf32>
}

// A layer: what is returned goes to the out argument, the rest to allocations.
// CHECK-LABEL: func.func private @layer(
// CHECK-SAME:    %[[X:[a-z0-9_]+]]: memref<?x64xf32>, %[[W:[a-z0-9_]+]]: memref<64xf32>, %[[POS:[a-z0-9_]+]]: memref<?xi32>, %[[PAGES:[a-z0-9_]+]]: memref<?x?xi32>, %[[RUNS:[a-z0-9_]+]]: memref<?x3xi32>, %[[LAYER:[a-z0-9_]+]]: index,
// CHECK-SAME:    %[[K:[a-z0-9_]+]]: memref<2x1x?x64x16xf16> {lumen.result = 1 : i64}, %[[V:[a-z0-9_]+]]: memref<2x1x?x16x64xf16>,
// CHECK-SAME:    %[[ROWS:[a-z0-9_]+]]: memref<?xi32>,
// CHECK-SAME:    %[[WP:[a-z0-9_]+]]: memref<7616xi8> {lumen.name = "w"}, %[[OUT:[a-z0-9_]+]]: memref<?x100xf32> {lumen.result = 0 : i64})
// CHECK-DAG:     %[[T:[a-z0-9_]+]] = memref.dim %[[X]]
// CHECK-DAG:     %[[R:[a-z0-9_]+]] = memref.dim %[[ROWS]]
// CHECK:         call @append(%[[K]], %[[X]], %[[LAYER]], %[[POS]])
// CHECK:         %[[A:[a-z0-9_]+]] = memref.alloc(%[[T]]) : memref<?x64xf32>
// CHECK-NEXT:    call @attention(%[[X]], %[[K]], %[[V]], %[[LAYER]], %[[POS]], %[[PAGES]], %[[RUNS]], %[[A]])
// CHECK:         %[[C:[a-z0-9_]+]] = memref.alloc(%[[R]]) : memref<?x64xi8>
// CHECK:         %[[S:[a-z0-9_]+]] = memref.alloc(%[[R]]) : memref<?x2xf32>
// CHECK:         %[[O:[a-z0-9_]+]] = memref.alloc(%[[R]]) : memref<?x2xi32>
// CHECK:         %[[M:[a-z0-9_]+]] = memref.alloc(%[[R]]) : memref<?x2xf32>
// CHECK-NEXT:    call @select_rms_norm_quantize_64(%[[A]], %[[W]], %[[ROWS]], %[[C]], %[[S]], %[[O]], %[[M]])
// CHECK-NEXT:    call @product(%[[C]], %[[S]], %[[O]], %[[M]], %[[WP]], %[[OUT]])
// CHECK-NEXT:    return
func.func private @layer(%x: tensor<?x64xf32>, %w: tensor<64xf32>, %positions: tensor<?xi32>,
    %pages: tensor<?x?xi32>, %runs: tensor<?x3xi32>, %layer: index,
    %k: tensor<2x1x?x64x16xf16>, %v: tensor<2x1x?x16x64xf16>, %rows: tensor<?xi32>,
    %wp: tensor<100x64x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>> {lumen.name = "w"})
    -> (tensor<?x100xf32>, tensor<2x1x?x64x16xf16>) {
  %k2 = call @append(%k, %x, %layer, %positions)
    : (tensor<2x1x?x64x16xf16>, tensor<?x64xf32>, index, tensor<?xi32>) -> tensor<2x1x?x64x16xf16>
  %a = call @attention(%x, %k2, %v, %layer, %positions, %pages, %runs)
    : (tensor<?x64xf32>, tensor<2x1x?x64x16xf16>, tensor<2x1x?x16x64xf16>, index, tensor<?xi32>,
       tensor<?x?xi32>, tensor<?x3xi32>) -> tensor<?x64xf32>
  %c, %s, %o, %m = call @select_rms_norm_quantize_64(%a, %w, %rows)
    : (tensor<?x64xf32>, tensor<64xf32>, tensor<?xi32>) -> (tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x2xi32>, tensor<?x2xf32>)
  %y = call @product(%c, %s, %o, %m, %wp)
    : (tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x2xi32>, tensor<?x2xf32>,
       tensor<100x64x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>>) -> tensor<?x100xf32>
  return %y, %k2 : tensor<?x100xf32>, tensor<2x1x?x64x16xf16>
}

// Rows are followed through calls: the layer gives as many as were chosen, so does the norm behind it.
// CHECK-LABEL: func.func @step(
// CHECK-SAME:    %[[TOKENS:[a-z0-9_]+]]: memref<?xi32> {lumen.tokens}, %[[POS:[a-z0-9_]+]]: memref<?xi32>, %[[PAGES:[a-z0-9_]+]]: memref<?x?xi32>, %[[RUNS:[a-z0-9_]+]]: memref<?x3xi32>, %[[ROWS:[a-z0-9_]+]]: memref<?xi32> {lumen.tokens}, %{{[a-z0-9_]+}}: memref<6800xi8>,
// CHECK-SAME:    %[[K:[a-z0-9_]+]]: memref<2x1x?x64x16xf16> {lumen.result = 1 : i64},
// CHECK-SAME:    %{{[a-z0-9_]+}}: memref<?x100xf32> {lumen.out, lumen.result = 0 : i64, lumen.rows = 4 : i64})
// CHECK-DAG:     %[[T:[a-z0-9_]+]] = memref.dim %[[TOKENS]]
// CHECK-DAG:     %[[R:[a-z0-9_]+]] = memref.dim %[[ROWS]]
// CHECK:         %[[X:[a-z0-9_]+]] = memref.alloc(%[[T]]) : memref<?x64xf32>
// CHECK:         call @embedding(%[[TOKENS]], %{{[a-z0-9_]+}}, %[[X]])
// CHECK:         %[[Y:[a-z0-9_]+]] = memref.alloc(%[[R]]) : memref<?x100xf32>
// CHECK:         call @layer(%[[X]], %{{[a-z0-9_]+}}, %[[POS]], %[[PAGES]], %[[RUNS]], %{{[a-z0-9_]+}}, %[[K]], %{{[a-z0-9_]+}}, %[[ROWS]], %{{[a-z0-9_]+}}, %[[Y]])
// CHECK:         call @norm_100(%[[Y]], %{{[a-z0-9_]+}}, %{{[a-z0-9_]+}})
// CHECK-NEXT:    return
func.func private @norm_100(%x: tensor<?x100xf32>, %w: tensor<100xf32>) -> tensor<?x100xf32> attributes {lumen.kernel = "rows"} {
  %y = lumen.rms_norm %x, %w {epsilon = 1.0e-06 : f32} : tensor<?x100xf32>, tensor<100xf32>
  return %y : tensor<?x100xf32>
}
func.func @step(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %pages: tensor<?x?xi32>,
    %runs: tensor<?x3xi32>, %rows: tensor<?xi32>, %table: tensor<100x64x!lumen.q<@q8_0>>,
    %k: tensor<2x1x?x64x16xf16>, %v: tensor<2x1x?x16x64xf16>, %w: tensor<64xf32>, %w2: tensor<100xf32>,
    %wp: tensor<100x64x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>>)
    -> (tensor<?x100xf32>, tensor<2x1x?x64x16xf16>, tensor<2x1x?x16x64xf16>) {
  %layer = arith.constant 0 : index
  %x = call @embedding(%tokens, %table) : (tensor<?xi32>, tensor<100x64x!lumen.q<@q8_0>>) -> tensor<?x64xf32>
  %y, %k2 = call @layer(%x, %w, %positions, %pages, %runs, %layer, %k, %v, %rows, %wp)
    : (tensor<?x64xf32>, tensor<64xf32>, tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>, index,
       tensor<2x1x?x64x16xf16>, tensor<2x1x?x16x64xf16>, tensor<?xi32>,
       tensor<100x64x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>>) -> (tensor<?x100xf32>, tensor<2x1x?x64x16xf16>)
  %z = call @norm_100(%y, %w2) : (tensor<?x100xf32>, tensor<100xf32>) -> tensor<?x100xf32>
  return %z, %k2, %v : tensor<?x100xf32>, tensor<2x1x?x64x16xf16>, tensor<2x1x?x16x64xf16>
}

// -----

// Dynamic dimensions of a weight become index arguments behind its bytes. Packed
// weights of public functions are aligned.
lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
// CHECK-LABEL: func.func @pack_q8_0(
// CHECK-SAME:    %[[RAW:[a-z0-9_]+]]: memref<?xi8>, %[[N:[a-z0-9_]+]]: index, %[[K:[a-z0-9_]+]]: index, %[[OUT:[a-z0-9_]+]]: memref<?xi8> {llvm.align = 64 : i64, lumen.out, lumen.result = 0 : i64})
// CHECK:         %[[W:[a-z0-9_]+]] = lumen.from_bytes %[[RAW]], %[[N]], %[[K]] : memref<?xi8> -> tensor<?x?x!lumen.q<@q8_0>>
// CHECK:         %[[P:[a-z0-9_]+]] = lumen.pack %[[W]]
// CHECK:         lumen.to_bytes %[[P]] into %[[OUT]]
func.func @pack_q8_0(%w: tensor<?x?x!lumen.q<@q8_0>>)
    -> tensor<?x?x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>> attributes {lumen.kernel = "pack"} {
  %p = lumen.pack %w : tensor<?x?x!lumen.q<@q8_0>> -> tensor<?x?x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>>
  return %p : tensor<?x?x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>>
}

// CHECK-LABEL: func.func @pack_f32(
// CHECK-SAME:    %[[RAW:[a-z0-9_]+]]: memref<?xi8>, %[[N:[a-z0-9_]+]]: index, %[[K:[a-z0-9_]+]]: index, %[[OUT:[a-z0-9_]+]]: memref<?xi8>
func.func @pack_f32(%w: tensor<?x?xf32>)
    -> tensor<?x?xf32, #lumen.packed<rows = 16>> attributes {lumen.kernel = "pack"} {
  %p = lumen.pack %w : tensor<?x?xf32> -> tensor<?x?xf32, #lumen.packed<rows = 16>>
  return %p : tensor<?x?xf32, #lumen.packed<rows = 16>>
}
