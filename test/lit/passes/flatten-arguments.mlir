// RUN: lumen-opt %s -lumen-flatten-arguments -split-input-file -verify-diagnostics | FileCheck %s

// A kernel of one phase: all buffers are distinct, what is not written is read only.
// CHECK-LABEL: func.func private @one_phase(
// CHECK-SAME:    %[[X:[a-z0-9]+]]: !llvm.ptr {llvm.align = 64 : i64, llvm.noalias, llvm.noundef, llvm.readonly}, %[[ROWS:[a-z0-9]+]]: index,
// CHECK-SAME:    %[[Y:[a-z0-9]+]]: !llvm.ptr {llvm.noalias, llvm.noundef}, %[[WORKER:[a-z0-9]+]]: !llvm.ptr {lumen.worker})
// CHECK:         %[[D0:[0-9]+]] = llvm.insertvalue %[[X]], %{{[0-9]+}}[0]
// CHECK:         %[[D1:[0-9]+]] = llvm.insertvalue %[[X]], %[[D0]][1]
// CHECK:         %[[SIZE:[0-9]+]] = arith.index_cast %[[ROWS]] : index to i64
// CHECK:         llvm.insertvalue %[[SIZE]], %{{[0-9]+}}[3, 0]
// CHECK:         %[[M:[0-9]+]] = builtin.unrealized_conversion_cast %{{[0-9]+}} : !llvm.struct<(ptr, ptr, i64, array<2 x i64>, array<2 x i64>)> to memref<?x64xf32>
// CHECK:         memref.load %[[M]]
func.func private @one_phase(%x: memref<?x64xf32>, %y: memref<64xf32>, %worker: !llvm.ptr {lumen.worker})
    attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %v = memref.load %x[%c0, %c0] : memref<?x64xf32>
  %part = memref.subview %y[0] [8] [1] : memref<64xf32> to memref<8xf32, strided<[1]>>
  memref.store %v, %part[%c0] : memref<8xf32, strided<[1]>>
  llvm.call @lumen_barrier(%worker) : (!llvm.ptr) -> ()
  return
}
llvm.func @lumen_barrier(!llvm.ptr)

// What other workers wrote before the first barrier is read behind it: no noalias there.
// CHECK-LABEL: func.func private @two_phases(
// CHECK-SAME:    %{{[a-z0-9]+}}: !llvm.ptr {llvm.noalias, llvm.noundef, llvm.readonly},
// CHECK-SAME:    %{{[a-z0-9]+}}: !llvm.ptr {llvm.noundef}, %{{[a-z0-9]+}}: !llvm.ptr {lumen.worker})
func.func private @two_phases(%x: memref<64xf32>, %y: memref<64xf32>, %worker: !llvm.ptr {lumen.worker})
    attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %v = memref.load %x[%c0] : memref<64xf32>
  memref.store %v, %y[%c0] : memref<64xf32>
  llvm.call @lumen_barrier(%worker) : (!llvm.ptr) -> ()
  %w = memref.load %y[%c1] : memref<64xf32>
  memref.store %w, %y[%c0] : memref<64xf32>
  llvm.call @lumen_barrier(%worker) : (!llvm.ptr) -> ()
  return
}

// A store to a buffer chosen at run time may reach every argument.
// CHECK-LABEL: func.func private @untraced(
// CHECK-SAME:    %{{[a-z0-9]+}}: !llvm.ptr {llvm.noalias, llvm.noundef}, %{{[a-z0-9]+}}: !llvm.ptr {llvm.noalias, llvm.noundef}, %{{[a-z0-9]+}}: i1)
func.func private @untraced(%x: memref<64xf32>, %y: memref<64xf32>, %which: i1)
    attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %v = memref.load %x[%c0] : memref<64xf32>
  %z = arith.select %which, %x, %y : memref<64xf32>
  memref.store %v, %z[%c0] : memref<64xf32>
  return
}

// The size between two static dimensions multiplies into the strides before it.
// CHECK-LABEL: func.func private @cache(
// CHECK-SAME:    %{{[a-z0-9]+}}: !llvm.ptr {llvm.noalias, llvm.noundef, llvm.readonly}, %[[BLOCKS:[a-z0-9]+]]: index
// CHECK:         %[[SIZE:[0-9]+]] = arith.index_cast %[[BLOCKS]] : index to i64
// CHECK:         %[[C32:[a-z0-9_]+]] = arith.constant 32 : i64
// CHECK:         %[[STRIDE:[0-9]+]] = arith.muli %[[C32]], %[[SIZE]] : i64
// CHECK:         llvm.insertvalue %[[STRIDE]], %{{[0-9]+}}[4, 0]
func.func private @cache(%k: memref<2x?x2x16xf16>, %out: memref<1xf16>) attributes {lumen.kernel = "attention"} {
  %c0 = arith.constant 0 : index
  %v = memref.load %k[%c0, %c0, %c0, %c0] : memref<2x?x2x16xf16>
  memref.store %v, %out[%c0] : memref<1xf16>
  return
}

// Callers give pointers and sizes. Arenas are aligned, and so are views at multiples of 64.
// CHECK-LABEL: func.func @step(
// CHECK-SAME:    %{{[a-z0-9]+}}: !llvm.ptr {llvm.align = 64 : i64, llvm.noundef}, %[[ROWS:[a-z0-9]+]]: index,
// CHECK-SAME:    %{{[a-z0-9]+}}: !llvm.ptr {llvm.noundef}, %{{[a-z0-9]+}}: !llvm.ptr {llvm.align = 64 : i64, llvm.noundef}, %[[WORKER:[a-z0-9]+]]: !llvm.ptr {lumen.worker})
// CHECK:         %[[P0:[0-9]+]] = llvm.extractvalue %{{[0-9]+}}[1]
// CHECK:         %[[N:[a-z0-9_]+]] = memref.dim
// CHECK:         call @one_phase(%[[P0]], %[[N]], %{{[0-9]+}}, %[[WORKER]]) : (!llvm.ptr, index, !llvm.ptr, !llvm.ptr) -> ()
func.func @step(%w: memref<?x64xf32> {llvm.align = 64 : i64}, %y: memref<64xf32>,
    %arena: memref<8192xi8> {lumen.arena}, %worker: !llvm.ptr {lumen.worker}) {
  %c0 = arith.constant 0 : index
  %c128 = arith.constant 128 : index
  %rows = memref.dim %w, %c0 : memref<?x64xf32>
  call @one_phase(%w, %y, %worker) : (memref<?x64xf32>, memref<64xf32>, !llvm.ptr) -> ()
  %part = memref.view %arena[%c128][%rows] : memref<8192xi8> to memref<?x64xf32>
  call @one_phase(%part, %y, %worker) : (memref<?x64xf32>, memref<64xf32>, !llvm.ptr) -> ()
  return
}

// -----

// expected-error @+1 {{cannot pass argument 0 by its pointer: 'memref<8xf32, strided<[2]>>'}}
func.func private @strided(%x: memref<8xf32, strided<[2]>>) {
  return
}

// -----

// expected-error @+1 {{returns a buffer; results are out arguments}}
func.func private @result(%x: memref<8xf32>) -> memref<8xf32> {
  return %x : memref<8xf32>
}

// -----

// expected-error @+1 {{aligns argument 0 to 3 : i64, which is no power of two of at most 4294967296}}
func.func private @aligned(%x: memref<8xf32> {llvm.align = 3 : i64}) {
  return
}

// -----

// expected-error @+1 {{cannot pass argument 0 by its pointer: 'memref<8x!lumen.q<@f>>'}}
func.func private @elements(%x: memref<8x!lumen.q<@f>>) {
  return
}
