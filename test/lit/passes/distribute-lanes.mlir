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
// A matrix in chunks as an instruction takes it. Words that stay in their lane are registers of it; the scale of
// a row comes from the lane of that row, once for its tokens.
// CHECK-LABEL: func.func private @matrices(
// CHECK-DAG:     %[[LANE:[0-9]+]] = lumen.lane
// CHECK:         memref.load %{{.*}} : memref<32xi128>
// CHECK:         vector.bitcast %{{.*}} : vector<1xi128> to vector<4xi32>
// CHECK:         %[[W:[0-9]+]] = vector.bitcast %{{.*}} : vector<4xi32> to vector<16xi8>
// CHECK:         %[[X:[0-9]+]] = vector.bitcast %{{.*}} : vector<1xi64> to vector<8xi8>
// CHECK:         %[[SUM:[0-9]+]] = lumen.warp_mma <m = 16, n = 8, k = 32, lhs = si8, rhs = si8, acc = i32, weights_left = true> %[[W]], %[[X]], %{{.*}} : vector<16xi8>, vector<8xi8>, vector<4xi32>
// CHECK:         arith.andi %[[LANE]], %c28_i32
// CHECK:         %[[R0:[0-9]+]] = lumen.shuffle %[[S:[0-9]+]], %{{.*}} : f32
// CHECK:         %[[R1:[0-9]+]] = lumen.shuffle %[[S]], %{{.*}} : f32
// CHECK:         vector.from_elements %[[R0]], %[[R0]], %[[R1]], %[[R1]] : vector<4xf32>
// CHECK:         arith.mulf %{{.*}} : vector<4xf32>
// CHECK-NOT:     lumen.shuffle
// CHECK-COUNT-4: memref.store %{{.*}} : memref<128xf32>
// CHECK-NOT:     memref.store
// CHECK:         return
func.func private @matrices(%w: memref<32xi128>, %x: memref<32xi64>, %s: memref<32xf32>, %out: memref<128xf32>)
    attributes {lumen.kernel = "product"} {
  %c0 = arith.constant 0 : index
  %places = arith.constant dense<[0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27, 4, 12, 20, 28, 5, 13, 21, 29, 6, 14, 22, 30, 7, 15, 23, 31]> : vector<32xi32>
  %all = arith.constant dense<true> : vector<32xi1>
  %none = arith.constant dense<0> : vector<32xi128>
  %start = arith.constant dense<0> : vector<128xi32>
  %four = arith.constant dense<4> : vector<128xi32>
  %own = vector.gather %w[%c0] [%places], %all, %none
     : memref<32xi128>, vector<32xi32>, vector<32xi1>, vector<32xi128> into vector<32xi128>
  %low = vector.bitcast %own : vector<32xi128> to vector<128xi32>
  %high = arith.shrui %low, %four : vector<128xi32>
  %words = vector.shuffle %low, %high [0, 128, 4, 132, 8, 136, 12, 140, 16, 144, 20, 148, 24, 152, 28, 156, 32, 160, 36, 164, 40, 168, 44, 172, 48, 176, 52, 180, 56, 184, 60, 188, 64, 192, 68, 196, 72, 200, 76, 204, 80, 208, 84, 212, 88, 216, 92, 220, 96, 224, 100, 228, 104, 232, 108, 236, 112, 240, 116, 244, 120, 248, 124, 252, 1, 129, 5, 133, 9, 137, 13, 141, 17, 145, 21, 149, 25, 153, 29, 157, 33, 161, 37, 165, 41, 169, 45, 173, 49, 177, 53, 181, 57, 185, 61, 189, 65, 193, 69, 197, 73, 201, 77, 205, 81, 209, 85, 213, 89, 217, 93, 221, 97, 225, 101, 229, 105, 233, 109, 237, 113, 241, 117, 245, 121, 249, 125, 253] : vector<128xi32>, vector<128xi32>
  %codes = vector.bitcast %words : vector<128xi32> to vector<512xi8>
  %pairs = vector.load %x[%c0] : memref<32xi64>, vector<32xi64>
  %activations = vector.bitcast %pairs : vector<32xi64> to vector<256xi8>
  %sum = lumen.mma <m = 16, n = 8, k = 32, lhs = si8, rhs = si8, acc = i32, weights_left = true> %codes, %activations, %start
     : vector<512xi8>, vector<256xi8>, vector<128xi32>
  %scales = vector.load %s[%c0] : memref<32xf32>, vector<32xf32>
  %spread = vector.shuffle %scales, %scales [0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 4, 4, 4, 4, 8, 8, 8, 8, 8, 8, 8, 8, 12, 12, 12, 12, 12, 12, 12, 12, 16, 16, 16, 16, 16, 16, 16, 16, 20, 20, 20, 20, 20, 20, 20, 20, 24, 24, 24, 24, 24, 24, 24, 24, 28, 28, 28, 28, 28, 28, 28, 28, 1, 1, 1, 1, 1, 1, 1, 1, 5, 5, 5, 5, 5, 5, 5, 5, 9, 9, 9, 9, 9, 9, 9, 9, 13, 13, 13, 13, 13, 13, 13, 13, 17, 17, 17, 17, 17, 17, 17, 17, 21, 21, 21, 21, 21, 21, 21, 21, 25, 25, 25, 25, 25, 25, 25, 25, 29, 29, 29, 29, 29, 29, 29, 29] : vector<32xf32>, vector<32xf32>
  %float = arith.sitofp %sum : vector<128xi32> to vector<128xf32>
  %y = arith.mulf %float, %spread : vector<128xf32>
  %order = arith.constant dense<[0, 16, 32, 48, 64, 80, 96, 112, 1, 17, 33, 49, 65, 81, 97, 113, 2, 18, 34, 50, 66, 82, 98, 114, 3, 19, 35, 51, 67, 83, 99, 115, 4, 20, 36, 52, 68, 84, 100, 116, 5, 21, 37, 53, 69, 85, 101, 117, 6, 22, 38, 54, 70, 86, 102, 118, 7, 23, 39, 55, 71, 87, 103, 119, 8, 24, 40, 56, 72, 88, 104, 120, 9, 25, 41, 57, 73, 89, 105, 121, 10, 26, 42, 58, 74, 90, 106, 122, 11, 27, 43, 59, 75, 91, 107, 123, 12, 28, 44, 60, 76, 92, 108, 124, 13, 29, 45, 61, 77, 93, 109, 125, 14, 30, 46, 62, 78, 94, 110, 126, 15, 31, 47, 63, 79, 95, 111, 127]> : vector<128xi32>
  %every = arith.constant dense<true> : vector<128xi1>
  vector.scatter %out[%c0] [%order], %every, %y : memref<128xf32>, vector<128xi32>, vector<128xi1>, vector<128xf32>
  return
}
}
