// RUN: lumen-opt %s -lumen-bufferize -split-input-file -verify-diagnostics

func.func private @norm(%x: tensor<?x8xf32>, %w: tensor<8xf32>) -> tensor<?x8xf32> attributes {lumen.kernel = "rows"} {
  %y = lumen.rms_norm %x, %w {epsilon = 1.0e-06 : f32} : tensor<?x8xf32>, tensor<8xf32>
  return %y : tensor<?x8xf32>
}
func.func @f(%x: tensor<?x8xf32>, %w: tensor<8xf32>) -> tensor<?x8xf32> {
  %y = call @norm(%x, %w) : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  // expected-error @+1 {{'lumen.add' op works on tensors outside of a kernel}}
  %z = lumen.add %y, %y : tensor<?x8xf32>
  return %z : tensor<?x8xf32>
}

// -----

// expected-error @+1 {{is public and returns its argument 0 unchanged; only caches are updated in place}}
func.func @f(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  return %x : tensor<?x8xf32>
}

// -----

func.func private @norm(%x: tensor<?x8xf32>, %w: tensor<8xf32>) -> tensor<?x8xf32> attributes {lumen.kernel = "rows"} {
  %y = lumen.rms_norm %x, %w {epsilon = 1.0e-06 : f32} : tensor<?x8xf32>, tensor<8xf32>
  return %y : tensor<?x8xf32>
}
// expected-error @+1 {{is public and returns the same value as results 0 and 1}}
func.func @f(%x: tensor<?x8xf32>, %w: tensor<8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  %y = call @norm(%x, %w) : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return %y, %y : tensor<?x8xf32>, tensor<?x8xf32>
}

// -----

// expected-error @+1 {{is recursive}}
func.func private @f(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %y = call @f(%x) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

func.func private @elsewhere(tensor<?x8xf32>) -> tensor<?x8xf32>
func.func @f(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // expected-error @+1 {{calls 'elsewhere', which has no body}}
  %y = call @elsewhere(%x) : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// expected-error @+1 {{returns a value that is no tensor: result 0 is 'index'}}
func.func @f(%x: index) -> index {
  return %x : index
}

// -----

// expected-error @+1 {{must be a straight line of one block, got 2 blocks}}
func.func @f() {
  cf.br ^next
^next:
  return
}

// -----

func.func private @append(%k: tensor<2x1x?x64x16xf16>, %x: tensor<?x64xf32>, %layer: index, %places: tensor<?xi32>)
    -> tensor<2x1x?x64x16xf16> attributes {lumen.kernel = "rows"} {
  %new = lumen.kv_append %k, %x, %layer, %places {kind = "key"} : tensor<2x1x?x64x16xf16>, tensor<?x64xf32>, tensor<?xi32>
  return %new : tensor<2x1x?x64x16xf16>
}
func.func @f(%k: tensor<2x1x?x64x16xf16>, %x: tensor<?x64xf32>, %layer: index, %places: tensor<?xi32>)
    -> tensor<2x1x?x64x16xf16> {
  // expected-note @+1 {{updated here}}
  %k2 = call @append(%k, %x, %layer, %places)
    : (tensor<2x1x?x64x16xf16>, tensor<?x64xf32>, index, tensor<?xi32>) -> tensor<2x1x?x64x16xf16>
  // expected-error @+1 {{uses a cache as it was before it was updated}}
  %k3 = call @append(%k, %x, %layer, %places)
    : (tensor<2x1x?x64x16xf16>, tensor<?x64xf32>, index, tensor<?xi32>) -> tensor<2x1x?x64x16xf16>
  return %k3 : tensor<2x1x?x64x16xf16>
}

// -----

// expected-error @+1 {{takes a tensor that no buffer can hold: 'tensor<*xf32>'}}
func.func private @unranked(%x: tensor<*xf32>) {
  return
}

// -----

func.func private @region(%x: tensor<?x8xf32>, %c: i1) {
  scf.if %c {
    // expected-error @+1 {{works on tensors inside of a region}}
    %0 = lumen.add %x, %x : tensor<?x8xf32>
  }
  return
}

// -----

lumen.format @q8_0 block(32) group(32) bits(8) bias(-128) storage(["d", "qs"]) {
^bb0(%d: f16, %qs: vector<32xi8>):
  lumen.decoded codes(%qs : vector<32xi8>) scale(%d : f16)
}
func.func private @size(%w: tensor<8x32x!lumen.q<@q8_0>>, %i: index) {
  // expected-error @+1 {{asks for a size of a tensor without a buffer of its shape: 'tensor<8x32x!lumen.q<@q8_0>>'}}
  %0 = tensor.dim %w, %i : tensor<8x32x!lumen.q<@q8_0>>
  return
}

// -----

// expected-error @+1 {{uses a weight of 'tensor<8x8xindex, "x">'}}
func.func private @weight(%w: tensor<8x8xindex, "x">) {
  return
}

// -----

// expected-error @+1 {{uses a weight of an unknown layout, 'tensor<8x8xf32, "x">'}}
func.func private @layout(%w: tensor<8x8xf32, "x">) {
  return
}

// -----

// expected-error @+1 {{must end in a func.return}}
func.func private @endless() {
  ub.unreachable
}

// -----

func.func private @made(%n: index) {
  %0 = tensor.empty() : tensor<4xf32>
  // expected-error @+1 {{works on a tensor that no buffer can hold: 'tensor<*xf32>'}}
  %1 = tensor.cast %0 : tensor<4xf32> to tensor<*xf32>
  return
}
