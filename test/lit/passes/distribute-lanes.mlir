// RUN: lumen-opt %s -pass-pipeline='builtin.module(lumen-distribute-lanes,func.func(canonicalize,cse))' | FileCheck %s

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {

// The bytes of a warp's memory: those of the kernel that takes the most.
// CHECK:       llvm.mlir.global external constant @lumen_scratch_size(272 : i64)

// Element i is in lane i, and a sum in all of them.
// CHECK-LABEL: func.func private @sum_of_squares(
// CHECK:         %[[LANE:[0-9]+]] = lumen.lane
// CHECK:         %[[AT:[0-9]+]] = arith.index_castui %[[LANE]] : i32 to index
// CHECK:         %[[X:[0-9]+]] = memref.load %{{.*}}[%[[AT]]] : memref<64xf32>
// CHECK:         %[[NEXT:[0-9]+]] = arith.addi %[[AT]], %{{.*}}
// CHECK:         %[[Y:[0-9]+]] = memref.load %{{.*}}[%[[NEXT]]] : memref<64xf32>
// CHECK:         vector.from_elements %[[X]], %[[Y]] : vector<2xf32>
// CHECK:         arith.mulf %{{.*}} : vector<2xf32>
// CHECK:         %[[OWN:[0-9]+]] = arith.addf %{{.*}} : f32
// CHECK:         %[[FROM:[0-9]+]] = arith.xori %[[LANE]], %c16_i32
// CHECK-NEXT:    %[[OTHER:[0-9]+]] = lumen.shuffle %[[OWN]], %[[FROM]] : f32
// CHECK-NEXT:    arith.addf %[[OWN]], %[[OTHER]] : f32
// CHECK-COUNT-4: lumen.shuffle
// CHECK-NOT:     lumen.shuffle
// CHECK:         memref.store
func.func private @sum_of_squares(%a: memref<64xf32>, %out: memref<1xf32>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %x = vector.load %a[%c0] : memref<64xf32>, vector<64xf32>
  %y = arith.mulf %x, %x : vector<64xf32>
  %s = vector.reduction <add>, %y : vector<64xf32> into f32
  memref.store %s, %out[%c0] : memref<1xf32>
  return
}

// The four codes of a lane are a word, and the activations are the same in all lanes.
// CHECK-LABEL: func.func private @dot(
// CHECK:         %[[PLACE:[0-9]+]] = arith.muli %{{.*}}, %c4
// CHECK:         %[[CODES:[0-9]+]] = vector.load %{{.*}}[%[[PLACE]]] {alignment = 4 : i64} : memref<128xi8>, vector<4xi8>
// CHECK:         %[[LOW:[0-9]+]] = arith.andi %[[CODES]], %{{.*}} : vector<4xi8>
// CHECK:         %[[ACTIVATIONS:[0-9]+]] = vector.load %{{.*}}[%c0] {alignment = 4 : i64} : memref<4xi8>, vector<4xi8>
// CHECK:         lumen.dot4 %[[LOW]], %[[ACTIVATIONS]], %{{.*}} {bits = 4 : i64} : vector<4xi8>, vector<4xi8>, vector<1xi32>
func.func private @dot(%w: memref<128xi8>, %x: memref<4xi8>, %out: memref<32xi32>) attributes {lumen.kernel = "product"} {
  %c0 = arith.constant 0 : index
  %mask = arith.constant dense<15> : vector<128xi8>
  %zero = arith.constant dense<0> : vector<32xi32>
  %codes = vector.load %w[%c0] : memref<128xi8>, vector<128xi8>
  %low = arith.andi %codes, %mask : vector<128xi8>
  %activations = vector.load %x[%c0] : memref<4xi8>, vector<4xi8>
  %sum = lumen.dot4 %low, %activations, %zero {bits = 4 : i64} : vector<128xi8>, vector<4xi8>, vector<32xi32>
  vector.store %sum, %out[%c0] : memref<32xi32>, vector<32xi32>
  return
}

// 16 elements are in 32 lanes. The upper half of a vector comes from its lanes.
// CHECK-LABEL: func.func private @halves(
// CHECK-DAG:     %[[LANE:[0-9]+]] = lumen.lane
// CHECK:         %[[X:[0-9]+]] = memref.load %{{.*}} : memref<32xf32>
// CHECK:         %[[PLACE:[0-9]+]] = arith.andi %[[LANE]], %c15_i32 : i32
// CHECK:         %[[LOW:[0-9]+]] = lumen.shuffle %[[X]], %[[PLACE]] : f32
// CHECK:         %[[UPPER:[0-9]+]] = arith.addi %[[PLACE]], %c16_i32 : i32
// CHECK:         %[[HIGH:[0-9]+]] = lumen.shuffle %[[X]], %[[UPPER]] : f32
// CHECK:         arith.addf %[[LOW]], %[[HIGH]] : f32
func.func private @halves(%a: memref<32xf32>, %out: memref<16xf32>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %x = vector.load %a[%c0] : memref<32xf32>, vector<32xf32>
  %low = vector.extract_strided_slice %x {offsets = [0], sizes = [16], strides = [1]} : vector<32xf32> to vector<16xf32>
  %high = vector.extract_strided_slice %x {offsets = [16], sizes = [16], strides = [1]} : vector<32xf32> to vector<16xf32>
  %y = arith.addf %low, %high : vector<16xf32>
  vector.store %y, %out[%c0] : memref<16xf32>, vector<16xf32>
  return
}

// CHECK-LABEL: func.func private @memory(
// CHECK:         lumen.scratch 0 : memref<3xf32>
// CHECK:         lumen.scratch 16 : memref<64xi32>
func.func private @memory(%out: memref<1xf32>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %a = memref.alloca() : memref<3xf32>
  %b = memref.alloca() : memref<64xi32>
  %n = memref.load %b[%c0] : memref<64xi32>
  %i = arith.index_castui %n : i32 to index
  %x = memref.load %a[%i] : memref<3xf32>
  memref.store %x, %out[%c0] : memref<1xf32>
  return
}

// Every thread is a worker of its own.
// CHECK-LABEL: func.func private @pack(
// CHECK:         %[[WARP:[0-9]+]] = lumen.worker_id
// CHECK:         %[[FIRST:[0-9]+]] = arith.muli %[[WARP]], %c32
// CHECK:         arith.addi %[[FIRST]], %{{.*}} : index
// CHECK:         %[[WARPS:[0-9]+]] = lumen.worker_count
// CHECK:         arith.muli %[[WARPS]], %c32
func.func private @pack(%out: memref<?xindex>) attributes {lumen.kernel = "pack"} {
  %id = lumen.worker_id
  %count = lumen.worker_count
  memref.store %count, %out[%id] : memref<?xindex>
  return
}
}
