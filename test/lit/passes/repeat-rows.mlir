// RUN: lumen-opt %s --lumen-repeat-rows | FileCheck %s

#target = #lumen.target<name = "sm_80", triple = "nvptx64-nvidia-cuda", cpu = "sm_80", features = "+ptx80",
  vector_registers = 128, vector_bits = 1024, fma = true, f16 = true, cache_line = 128,
  dot = <m = 1, n = 32, k = 4, lhs = si8, rhs = si8, acc = i32>, warp = 32, workers = 1728, rows = 32, tokens = 4>

module attributes {lumen.target = #target} {

// CHECK: llvm.mlir.global external constant @lumen_block_size(196608 : i64)

func.func private @norm(%x: memref<?x256xf32>, %y: memref<?x256xf32>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %v = vector.load %x[%c0, %c0] : memref<?x256xf32>, vector<32xf32>
  vector.store %v, %y[%c0, %c0] : memref<?x256xf32>, vector<32xf32>
  return
}

// CHECK: func.func private @append(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}: i1 {lumen.is_in_block})
func.func private @append(%x: memref<?x256xf32>, %q: memref<?x256xf32>, %cache: memref<?x64x16xf32>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %v = vector.load %x[%c0, %c0] : memref<?x256xf32>, vector<16xf32>
  vector.store %v, %q[%c0, %c0] : memref<?x256xf32>, vector<16xf32>
  vector.store %v, %cache[%c0, %c0, %c0] : memref<?x64x16xf32>, vector<16xf32>
  return
}

// It reads what it writes, so that to do it twice is something else.
// CHECK: func.func private @update(%{{[a-z0-9]+}}: memref<?x256xf32>) attributes
func.func private @update(%x: memref<?x256xf32>) attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %v = vector.load %x[%c0, %c0] : memref<?x256xf32>, vector<32xf32>
  vector.store %v, %x[%c0, %c0] : memref<?x256xf32>, vector<32xf32>
  return
}

func.func private @product(%x: memref<?x256xf32>, %y: memref<?x256xf32>) attributes {lumen.kernel = "product"} {
  %c0 = arith.constant 0 : index
  %v = vector.load %x[%c0, %c0] : memref<?x256xf32>, vector<32xf32>
  vector.store %v, %y[%c0, %c0] : memref<?x256xf32>, vector<32xf32>
  return
}

// Up to 64 tokens. The results are in the block's memory, which whoever reads them is given; the cache is the team's.
// CHECK-LABEL: func.func private @layer(
// CHECK-SAME:    %[[X:[a-z0-9_]+]]: memref<?x256xf32>, %[[CACHE:[a-z0-9_]+]]: memref<?x64x16xf32>, %[[OUT:[a-z0-9_]+]]: memref<?x256xf32>)
// CHECK:         %[[ROWS:.*]] = memref.dim %[[X]]
// CHECK:         %[[FEW:.*]] = arith.cmpi ule, %[[ROWS]], %c64
// CHECK:         %[[BLOCK:.*]] = lumen.block_scratch 0 : memref<65536xi8>
// CHECK:         %[[VIEW:.*]] = memref.view %[[BLOCK]][%{{.*}}][%[[ROWS]]] : memref<65536xi8> to memref<?x256xf32>
// CHECK:         %[[A:.*]] = arith.select %[[FEW]], %[[VIEW]], %{{.*}} : memref<?x256xf32>
// CHECK:         call @norm(%[[X]], %[[A]], %[[FEW]]) {lumen.in_blocks}
// CHECK:         call @append(%[[A]], %[[Q:.*]], %[[CACHE]], %{{.*}}) {lumen.in_blocks}
// CHECK:         call @product(%[[Q]], %[[OUT]])
// CHECK:         call @update(%[[OUT]]) : (memref<?x256xf32>) -> ()
// Nothing follows behind which all workers meet.
// CHECK:         call @norm(%[[OUT]], %{{.*}}, %false)
func.func private @layer(%x: memref<?x256xf32>, %cache: memref<?x64x16xf32>, %out: memref<?x256xf32>) {
  %c0 = arith.constant 0 : index
  %rows = memref.dim %x, %c0 : memref<?x256xf32>
  %a = memref.alloc(%rows) : memref<?x256xf32>
  call @norm(%x, %a) : (memref<?x256xf32>, memref<?x256xf32>) -> ()
  %q = memref.alloc(%rows) : memref<?x256xf32>
  call @append(%a, %q, %cache) : (memref<?x256xf32>, memref<?x256xf32>, memref<?x64x16xf32>) -> ()
  call @product(%q, %out) : (memref<?x256xf32>, memref<?x256xf32>) -> ()
  call @update(%out) : (memref<?x256xf32>) -> ()
  %b = memref.alloc(%rows) : memref<?x256xf32>
  call @norm(%out, %b) : (memref<?x256xf32>, memref<?x256xf32>) -> ()
  return
}

// A cache that a repeated call may still write is not written again before all have met.
// CHECK-LABEL: func.func private @twice(
// CHECK:         call @append({{.*}}, %{{.*}}) {lumen.in_blocks}
// CHECK:         call @append({{.*}}, %false) : 
// CHECK:         call @product
func.func private @twice(%x: memref<?x256xf32>, %cache: memref<?x64x16xf32>, %out: memref<?x256xf32>) {
  %c0 = arith.constant 0 : index
  %rows = memref.dim %x, %c0 : memref<?x256xf32>
  %p = memref.alloc(%rows) : memref<?x256xf32>
  %q = memref.alloc(%rows) : memref<?x256xf32>
  call @append(%x, %p, %cache) : (memref<?x256xf32>, memref<?x256xf32>, memref<?x64x16xf32>) -> ()
  call @append(%x, %q, %cache) : (memref<?x256xf32>, memref<?x256xf32>, memref<?x64x16xf32>) -> ()
  call @product(%q, %out) : (memref<?x256xf32>, memref<?x256xf32>) -> ()
  return
}
}
