// SPDX-License-Identifier: Apache-2.0
//
// Where workers are warps that multiply small matrices, weights are unpacked where they are loaded.
// RUN: lumen-opt %s --lumen-fuse-quantized-linear --lumen-quantize-activations --lumen-merge-linears \
// RUN:   --lumen-pack-weights --lumen-form-kernels --lumen-bufferize --lumen-synthesize-product \
// RUN:   --canonicalize --cse | FileCheck %s

module attributes {lumen.max_tokens = 512 : i64, lumen.target = #lumen.target<name = "sm_80",
    triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
    vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
    dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>,
    mma = <m = 16, n = 8, k = 32, lhs = si8, rhs = si8, acc = i32, weights_left = true>,
    warp = 32, rows = 32, tokens = 4>} {

lumen.format @four block(32) group(32) bits(4) bias(-8) storage(["d", "codes"]) {
^bb0(%d: f16, %codes: vector<32xi8>):
  %0 = lumen.stored %d bits(16) : f16
  lumen.decoded codes(%codes : vector<32xi8>) scale(%0 : f16)
}

// Groups of 16.
lumen.format @six block(256) group(16) bits(6) bias(-32) storage(["codes", "scales", "d"]) {
^bb0(%codes: vector<256xi8>, %scales: vector<16xi8>, %d: f16):
  %0 = lumen.stored %d bits(16) : f16
  %1 = lumen.stored %scales bits(8) : vector<16xi8>
  lumen.decoded codes(%codes : vector<256xi8>) scale(%0, %1 : f16, vector<16xi8>)
}

// Codes that fit no signed byte.
lumen.format @eight block(32) group(32) bits(8) storage(["d", "codes"]) {
^bb0(%d: f16, %codes: vector<32xi8>):
  %0 = lumen.stored %d bits(16) : f16
  lumen.decoded codes(%codes : vector<32xi8>) scale(%0 : f16)
}

// CHECK-LABEL: func.func private @qlinear_four_40x64
// Room for the results of 32 tokens. The words of four rows are loaded at once, and those of two steps of a token.
// CHECK-DAG: %[[ROOM:.*]] = memref.alloca() {alignment = 64 : i64} : memref<1024xf32>
// CHECK-DAG: %[[UNITS:.*]] = memref.view %{{.*}} : memref<2304xi8> to memref<144xi128>
// CHECK-DAG: %[[PAIRS:.*]] = memref.view %{{.*}} to memref<?xi64>
// Two tiles of rows, and whole eights of tokens in tiles of 32.
// CHECK: scf.forall (%{{.*}}, %{{.*}}) in (%{{.*}}, 2) {
// CHECK: scf.for %{{.*}} step %c32 {
// CHECK: scf.execute_region no_inline {
// CHECK: scf.for {{.*}} -> (vector<128xf32>,
// A scale for each row; from its lane it goes to those of its sums, eight tokens each.
// CHECK: %[[SCALES:.*]] = vector.transfer_read %{{.*}} : tensor<32xf32>, vector<32xf32>
// CHECK: %[[OWN:.*]] = vector.gather %[[UNITS]][%{{.*}}] {{.*}} {alignment = 16 : i64} {{.*}} into vector<32xi128>
// CHECK: %[[WORDS:.*]] = vector.bitcast %[[OWN]] : vector<32xi128> to vector<128xi32>
// CHECK: %[[CODES:.*]] = vector.shuffle %{{.*}} [0, 128, 4, 132, 8, 136, 12, 140,
// CHECK: %[[ROWS:.*]] = vector.bitcast %[[CODES]] : vector<128xi32> to vector<512xi8>
// CHECK: %[[SPREAD:.*]] = vector.shuffle %[[SCALES]], %[[SCALES]] [0, 0, 0, 0, 0, 0, 0, 0, 4,
// CHECK: vector.gather %[[PAIRS]][%{{.*}}] {{.*}} {alignment = 8 : i64} {{.*}} into vector<32xi64>
// CHECK: lumen.mma <{{.*}}> %[[ROWS]], %{{.*}}, %{{.*}} : vector<512xi8>, vector<256xi8>, vector<128xi32>
// CHECK: math.fma %{{.*}}, %[[SPREAD]], %{{.*}} : vector<128xf32>
// CHECK-COUNT-7: lumen.mma
// CHECK-NOT: lumen.mma
// CHECK-COUNT-8: vector.scatter %[[ROOM]][
// What follows the product reads them row by row.
// CHECK: tensor.extract_slice %{{.*}} : tensor<32x32xf32>
// CHECK: scf.for %{{.*}} step %c16 {
// CHECK-COUNT-4: lumen.mma
// CHECK: scf.for %{{.*}} step %c8 {
// CHECK-COUNT-2: lumen.mma
// CHECK-NOT: lumen.mma
// Tokens that are left over.
// CHECK: scf.forall
// CHECK: return

// Instructions for half of the columns.
// CHECK-LABEL: func.func private @qlinear_six_32x256
// CHECK: lumen.mma <m = 16, n = 8, k = 16, {{.*}}> {{.*}} : vector<256xi8>, vector<128xi8>, vector<128xi32>

// CHECK-LABEL: func.func private @qlinear_eight_32x64
// CHECK-NOT: lumen.mma
// CHECK: return
func.func @f(%x: tensor<?x64xf32>, %y: tensor<?x256xf32>, %four: tensor<40x64x!lumen.q<@four>>,
    %six: tensor<32x256x!lumen.q<@six>>, %eight: tensor<32x64x!lumen.q<@eight>>)
    -> (tensor<?x40xf32>, tensor<?x32xf32>, tensor<?x32xf32>) {
  %0 = lumen.dequantize %four : tensor<40x64x!lumen.q<@four>> -> tensor<40x64xf32>
  %1 = lumen.linear %x, %0 : tensor<?x64xf32>, tensor<40x64xf32> -> tensor<?x40xf32>
  %2 = lumen.dequantize %six : tensor<32x256x!lumen.q<@six>> -> tensor<32x256xf32>
  %3 = lumen.linear %y, %2 : tensor<?x256xf32>, tensor<32x256xf32> -> tensor<?x32xf32>
  %z = lumen.add %x, %x : tensor<?x64xf32>
  %4 = lumen.dequantize %eight : tensor<32x64x!lumen.q<@eight>> -> tensor<32x64xf32>
  %5 = lumen.linear %z, %4 : tensor<?x64xf32>, tensor<32x64xf32> -> tensor<?x32xf32>
  return %1, %3, %5 : tensor<?x40xf32>, tensor<?x32xf32>, tensor<?x32xf32>
}

}
