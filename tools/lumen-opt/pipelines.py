#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the pipelines of all stages as rows for ``NamedPipelines.cpp``, which has no order of its own.

Its argument is the folder of the package ``pipelines``.
"""

import importlib.util
import itertools
import sys
from pathlib import Path


def main() -> None:
    spec = importlib.util.spec_from_file_location("pipelines", Path(sys.argv[1]) / "__init__.py")
    assert spec is not None and spec.loader is not None
    pipelines = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = pipelines
    spec.loader.exec_module(pipelines)
    for activations, profile, launches in itertools.product(("int8", "exact"), (False, True), (False, True)):
        before = pipelines.INPUT
        for stage in pipelines.stages(activations, profile, launches=launches):
            flags = f"{str(profile).lower()}, {str(launches).lower()}"
            text = stage.pipeline.removeprefix("builtin.module(").removesuffix(")")
            print(f'PIPELINE("{before}", "{stage.name}", {activations}, {flags}, R"({text})")')
            before = stage.name


if __name__ == "__main__":
    main()
