# SPDX-License-Identifier: Apache-2.0
# Written by tools/stubs.py.

import lumen_mlir._mlir.ir

class PassManager:
    def __init__(
        self, anchor_op: str = "any", context: lumen_mlir._mlir.ir.Context | None = None
    ) -> None: ...
    @staticmethod
    def parse(pipeline: str, context: lumen_mlir._mlir.ir.Context | None = None) -> PassManager: ...
    def add(self, pipeline: str) -> None: ...
    def run(self, operation: lumen_mlir._mlir.ir.Operation | lumen_mlir._mlir.ir.Module) -> None: ...
    def enable_ir_printing(
        self,
        print_before_all: bool = False,
        print_after_all: bool = True,
        print_module_scope: bool = False,
        print_after_change: bool = False,
        print_after_failure: bool = False,
        large_elements_limit: int | None = None,
        enable_debug_info: bool = False,
        print_generic_op_form: bool = False,
        tree_printing_dir_path: str | None = None,
    ) -> None: ...
    def enable_timing(self) -> None: ...
    def enable_verifier(self, enable: bool) -> None: ...
    def __str__(self) -> str: ...
