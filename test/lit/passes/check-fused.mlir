// SPDX-License-Identifier: Apache-2.0
// RUN: lumen-opt %s --lumen-check-fused --split-input-file --verify-diagnostics

// What is allowed.
func.func @step(%x: tensor<?x64xf32>, %w: tensor<64x64xf16, #lumen.packed<rows = 8>>, %rows: tensor<?xi32>)
    -> tensor<?x64xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %unused = arith.addi %c0, %c1 : index
  %0 = call @cut(%x, %rows) : (tensor<?x64xf32>, tensor<?xi32>) -> tensor<?x64xf32>
  %1 = call @product(%0, %w)
    : (tensor<?x64xf32>, tensor<64x64xf16, #lumen.packed<rows = 8>>) -> tensor<?x64xf32>
  return %1 : tensor<?x64xf32>
}
func.func private @cut(%x: tensor<?x64xf32>, %rows: tensor<?xi32>) -> tensor<?x64xf32>
    attributes {lumen.kernel = "rows"} {
  %0 = lumen.select_rows %x, %rows : tensor<?x64xf32>, tensor<?xi32> -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}
func.func private @product(%x: tensor<?x64xf32>, %w: tensor<64x64xf16, #lumen.packed<rows = 8>>)
    -> tensor<?x64xf32> attributes {lumen.kernel = "product"} {
  %0:2 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w, %w : tensor<64x64xf16, #lumen.packed<rows = 8>>,
                     tensor<64x64xf16, #lumen.packed<rows = 8>>)
    -> tensor<?x64xf32>, tensor<?x64xf32>
  %1 = lumen.silu %0#0 : tensor<?x64xf32>
  %2 = lumen.mul %1, %0#1 : tensor<?x64xf32>
  %3 = lumen.add %2, %x : tensor<?x64xf32>
  return %3 : tensor<?x64xf32>
}
func.func @pack(%w: tensor<?x?xf16>) -> tensor<?x?xf16, #lumen.packed<rows = 8>>
    attributes {lumen.kernel = "pack"} {
  %p = lumen.pack %w : tensor<?x?xf16> -> tensor<?x?xf16, #lumen.packed<rows = 8>>
  return %p : tensor<?x?xf16, #lumen.packed<rows = 8>>
}

// -----

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
func.func @float_copy(%w: tensor<64x64x!lumen.q<@q8_0>>) -> tensor<64x64xf32> {
  // expected-error@below {{makes a float copy of a quantized weight; only lumen.linear and lumen.embedding may read one}}
  %0 = lumen.dequantize %w : tensor<64x64x!lumen.q<@q8_0>> -> tensor<64x64xf32>
  return %0 : tensor<64x64xf32>
}

// -----

func.func @linear(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>) -> tensor<?x64xf32> {
  // expected-error@below {{is left; lumen-fuse-quantized-linear makes it a lumen.qlinear}}
  %0 = lumen.linear %x, %w : tensor<?x64xf32>, tensor<64x64xf32> -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

func.func private @unpacked(%x: tensor<?x64xf32>, %w: tensor<64x64xf16>) -> tensor<?x64xf32>
    attributes {lumen.kernel = "product"} {
  // expected-error@below {{weight 0 must be packed, got 'tensor<64x64xf16>'}}
  %0 = lumen.qlinear activations(%x : tensor<?x64xf32>) weights(%w : tensor<64x64xf16>)
    -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

func.func @packs(%x: tensor<?x64xf32>, %w: tensor<64x64xf16>) -> tensor<?x64xf32> {
  // expected-error@below {{must be in a kernel: a function of the fused stage only calls}}
  %p = lumen.pack %w : tensor<64x64xf16> -> tensor<64x64xf16, #lumen.packed<rows = 8>>
  %0 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%p : tensor<64x64xf16, #lumen.packed<rows = 8>>) -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

func.func private @packs_inside(%x: tensor<?x64xf32>, %w: tensor<64x64xf16>) -> tensor<?x64xf32>
    attributes {lumen.kernel = "pack"} {
  // expected-note@below {{it is computed here}}
  %p = lumen.pack %w : tensor<64x64xf16> -> tensor<64x64xf16, #lumen.packed<rows = 8>>
  // expected-error@below {{weight 0 must be an argument}}
  %0 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%p : tensor<64x64xf16, #lumen.packed<rows = 8>>) -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

func.func @other_dialect(%x: tensor<4xf32>) -> tensor<?xf32> {
  // expected-error@below {{is not allowed: a function of the fused stage only calls}}
  %0 = tensor.cast %x : tensor<4xf32> to tensor<?xf32>
  return %0 : tensor<?xf32>
}

// -----

func.func @float_constant() -> f32 {
  // expected-error@below {{is not allowed: a function of the fused stage only calls}}
  %0 = arith.constant 1.0 : f32
  return %0 : f32
}

// -----

// expected-error@below {{lumen.kernel must be "product", "rows", "attention", "pack" or "routing", got "gemm"}}
func.func private @unknown_kind(%x: tensor<?x64xf32>) -> tensor<?x64xf32>
    attributes {lumen.kernel = "gemm"} {
  return %x : tensor<?x64xf32>
}

// -----

// expected-error@below {{is a kernel and must be private}}
func.func @public(%x: tensor<?x64xf32>) -> tensor<?x64xf32> attributes {lumen.kernel = "rows"} {
  return %x : tensor<?x64xf32>
}

// -----

// expected-error@below {{is a kernel and must have one block}}
func.func private @declared(tensor<?x64xf32>) -> tensor<?x64xf32>
    attributes {lumen.kernel = "rows"}

// -----

func.func private @calls(%x: tensor<?x64xf32>) -> tensor<?x64xf32>
    attributes {lumen.kernel = "rows"} {
  // expected-error@below {{is not allowed: a kernel calls nothing}}
  %0 = call @calls(%x) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

func.func private @wrong_kind(%x: tensor<?x64xf32>, %n: tensor<64xf32>) -> tensor<?x64xf32>
    attributes {lumen.kernel = "attention"} {
  // expected-error@below {{is not allowed here in a kernel of kind "attention"}}
  %0 = lumen.rms_norm %x, %n {epsilon = 1.0e-06 : f32} : tensor<?x64xf32>, tensor<64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

func.func private @norm_in_product(%x: tensor<?x64xf32>, %n: tensor<64xf32>,
    %w: tensor<64x64xf16, #lumen.packed<rows = 8>>) -> tensor<?x64xf32>
    attributes {lumen.kernel = "product"} {
  %0 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w : tensor<64x64xf16, #lumen.packed<rows = 8>>) -> tensor<?x64xf32>
  // expected-error@below {{is not allowed here in a kernel of kind "product"}}
  %1 = lumen.rms_norm %0, %n {epsilon = 1.0e-06 : f32} : tensor<?x64xf32>, tensor<64xf32>
  return %1 : tensor<?x64xf32>
}

// -----

func.func private @gate_from_outside(%x: tensor<?x64xf32>,
    %w: tensor<64x64xf16, #lumen.packed<rows = 8>>) -> tensor<?x64xf32>
    attributes {lumen.kernel = "product"} {
  %0 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w : tensor<64x64xf16, #lumen.packed<rows = 8>>) -> tensor<?x64xf32>
  // expected-error@below {{in a product kernel must read what follows from its lumen.qlinear alone}}
  %1 = lumen.mul %x, %0 : tensor<?x64xf32>
  return %1 : tensor<?x64xf32>
}

// -----

func.func private @no_residual(%x: tensor<?x64xf32>,
    %w: tensor<64x64xf16, #lumen.packed<rows = 8>>) -> tensor<?x64xf32>
    attributes {lumen.kernel = "product"} {
  %0 = lumen.qlinear activations(%x : tensor<?x64xf32>)
    weights(%w : tensor<64x64xf16, #lumen.packed<rows = 8>>) -> tensor<?x64xf32>
  // expected-error@below {{in a product kernel must add an argument to a result}}
  %1 = lumen.add %0, %0 : tensor<?x64xf32>
  return %1 : tensor<?x64xf32>
}
