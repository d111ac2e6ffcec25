// RUN: lumen-opt %s -pass-pipeline='builtin.module(func.func(lumen-spmd))' -split-input-file -verify-diagnostics | FileCheck %s

// CHECK-LABEL: func.func private @two_loops(
// CHECK-SAME:    %[[TOKENS:[a-z0-9_]+]]: index
// CHECK:         %[[C56:[a-z0-9_]+]] = arith.constant 56 : index
// CHECK:         %[[TOTAL:[0-9]+]] = arith.muli %[[TOKENS]], %[[C56]]
// CHECK:         %[[ONE:[a-z0-9_]+]] = arith.constant 1 : index
// CHECK:         scf.while : () -> (index, index) {
// CHECK-NEXT:      %[[FIRST:[a-z0-9_]+]], %[[LAST:[a-z0-9_]+]] = lumen.claim %[[TOTAL]]
// CHECK-NEXT:      %[[LEFT:[0-9]+]] = arith.cmpi ult, %[[FIRST]], %[[LAST]]
// CHECK-NEXT:      scf.condition(%[[LEFT]]) %[[FIRST]], %[[LAST]]
// CHECK-NEXT:    } do {
// CHECK-NEXT:    ^bb0(%[[BEGIN:[a-z0-9_]+]]: index, %[[END:[a-z0-9_]+]]: index):
// CHECK-NEXT:      scf.for %[[I:[a-z0-9_]+]] = %[[BEGIN]] to %[[END]] step %[[ONE]] {
// CHECK:             %[[N:[0-9]+]] = arith.remui %[[I]], %[[C56]]
// CHECK:             %[[T:[0-9]+]] = arith.divui %[[I]], %[[C56]]
// CHECK:             memref.store %{{.*}}, %{{.*}}[%[[T]], %[[N]]]
// CHECK-NEXT:      }
// CHECK-NEXT:      scf.yield
// CHECK-NEXT:    }
// CHECK-NOT:     lumen.barrier
// A loop with bounds and a step: 2, 5, 8.
// CHECK:         %[[LB:[a-z0-9_]+]] = arith.constant 2 : index
// CHECK:         %[[STEP:[a-z0-9_]+]] = arith.constant 3 : index
// CHECK:         %[[UB:[a-z0-9_]+]] = arith.constant 9 : index
// CHECK:         %[[RANGE:[0-9]+]] = arith.subi %[[UB]], %[[LB]]
// CHECK:         %[[TRIPS:[0-9]+]] = arith.ceildivui %[[RANGE]], %[[STEP]]
// CHECK:           lumen.claim %[[TRIPS]]
// CHECK:           scf.for %[[J:[a-z0-9_]+]] =
// CHECK:             %[[SCALED:[0-9]+]] = arith.muli %[[J]], %[[STEP]]
// CHECK:             %[[AT:[0-9]+]] = arith.addi %[[SCALED]], %[[LB]]
// CHECK:             memref.store %{{.*}}, %{{.*}}[%[[AT]], %[[AT]]]
// CHECK-NEXT:      }
// CHECK-NEXT:      scf.yield
// CHECK-NEXT:    }
// CHECK-NEXT:    lumen.barrier
// CHECK-NEXT:    return
func.func private @two_loops(%tokens: index, %out: memref<?x56xf32>, %x: f32) {
  scf.forall (%t, %n) in (%tokens, 56) {
    memref.store %x, %out[%t, %n] : memref<?x56xf32>
  } {lumen.nowait}
  scf.forall (%i) = (2) to (9) step (3) {
    memref.store %x, %out[%i, %i] : memref<?x56xf32>
  }
  return
}

// -----

// Workers that have met do not wait again behind a loop without iterations.
// CHECK-LABEL: func.func private @phases(
// CHECK-SAME:    %[[TOKENS:[a-z0-9_]+]]: index
// CHECK:         lumen.claim
// CHECK:         lumen.barrier
// CHECK:         lumen.claim %[[TOKENS]]
// CHECK:         %[[ZERO:[a-z0-9_]+]] = arith.constant 0 : index
// CHECK:         %[[RUNS:[0-9]+]] = arith.cmpi ne, %[[TOKENS]], %[[ZERO]]
// CHECK-NEXT:    scf.if %[[RUNS]] {
// CHECK-NEXT:      lumen.barrier
// CHECK-NEXT:    }
// CHECK-NEXT:    return
func.func private @phases(%tokens: index, %out: memref<?xf32>, %x: f32) {
  scf.forall (%i) in (8) {
    memref.store %x, %out[%i] : memref<?xf32>
  }
  scf.forall (%i) in (%tokens) {
    memref.store %x, %out[%i] : memref<?xf32>
  }
  return
}

// -----

// The first loop may say that, too; what follows waits in any case.
// CHECK-LABEL: func.func private @optional(
// CHECK-SAME:    %[[TOKENS:[a-z0-9_]+]]: index
// CHECK:         lumen.claim %[[TOKENS]]
// CHECK:         %[[RUNS:[0-9]+]] = arith.cmpi ne, %[[TOKENS]], %{{.*}}
// CHECK-NEXT:    scf.if %[[RUNS]] {
// CHECK-NEXT:      lumen.barrier
// CHECK-NEXT:    }
// CHECK:         lumen.claim
// CHECK-NOT:     scf.if
// CHECK:         lumen.barrier
// CHECK-NEXT:    return
func.func private @optional(%tokens: index, %out: memref<?xf32>, %x: f32) {
  scf.forall (%i) in (%tokens) {
    memref.store %x, %out[%i] : memref<?xf32>
  } {lumen.optional}
  scf.forall (%i) in (8) {
    memref.store %x, %out[%i] : memref<?xf32>
  }
  return
}

// -----

// A function without parallel loops is not touched.
// CHECK-LABEL: func.func private @serial
// CHECK-NEXT:    return
func.func private @serial() {
  return
}

// -----

func.func private @nested(%out: memref<8x8xf32>, %x: f32) {
  scf.forall (%i) in (8) {
    // expected-error @+1 {{must stand at the top level of a function, where every worker comes by once}}
    scf.forall (%j) in (8) {
      memref.store %x, %out[%i, %j] : memref<8x8xf32>
    }
  }
  return
}

// -----

func.func private @results(%x: tensor<8xf32>) -> tensor<8xf32> {
  // expected-error @+1 {{must have no results, got 1}}
  %y = scf.forall (%i) in (8) shared_outs(%o = %x) -> (tensor<8xf32>) {
    scf.forall.in_parallel {}
  }
  return %y : tensor<8xf32>
}

// -----

func.func private @last_nowait() {
  // expected-error @+1 {{is the last of its function, so the workers must wait for each other behind it}}
  scf.forall (%i) in (8) {
  } {lumen.nowait}
  return
}

// -----

func.func private @last_optional() {
  // expected-error @+1 {{is the last of its function, so the workers must wait for each other behind it}}
  scf.forall (%i) in (8) {
  } {lumen.optional}
  return
}

// -----

func.func private @no_dimension() {
  // expected-error @+1 {{must have at least one dimension}}
  scf.forall () in () {
  }
  return
}
