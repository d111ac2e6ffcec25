// RUN: lumen-opt %s -pass-pipeline='builtin.module(lumen-keep-side{side=host})' -verify-diagnostics

func.func @step() {
  // expected-error @below {{calls the other side}}
  call @kernel() : () -> ()
  return
}
func.func private @kernel() attributes {lumen.kernel = "rows"} {
  return
}
