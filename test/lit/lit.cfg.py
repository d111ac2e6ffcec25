# SPDX-License-Identifier: Apache-2.0
"""lit configuration: ``lit test/lit`` after a build in ``build/`` (or ``-D lumen_opt=PATH``)."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import lit.formats

ROOT = Path(__file__).resolve().parents[2]
LLVM_TOOLS = Path("/usr/lib/llvm-22/bin")

config.name = "Lumen"  # noqa: F821 (lit provides config and lit_config)
config.test_format = lit.formats.ShTest(False)  # noqa: F821
config.suffixes = [".mlir"]  # noqa: F821
config.excludes = ["Inputs"]  # noqa: F821
config.test_source_root = str(ROOT / "test" / "lit")  # noqa: F821
config.test_exec_root = str(ROOT / "build" / "test" / "lit")  # noqa: F821


def find_lumen_opt() -> str:
    """The lumen-opt asked for, the one of the newest build folder, or the one on PATH."""
    asked = lit_config.params.get("lumen_opt") or os.environ.get("LUMEN_OPT")  # noqa: F821
    if asked:
        return asked
    built = sorted(ROOT.glob("build*/**/bin/lumen-opt"), key=lambda path: path.stat().st_mtime)
    found = str(built[-1]) if built else shutil.which("lumen-opt")
    if not found:
        lit_config.fatal("lumen-opt is neither in build*/ nor on PATH")  # noqa: F821
    return found


def load_pipelines():
    """The module of the stages; it needs nothing that is built."""
    spec = importlib.util.spec_from_file_location("pipelines", ROOT / "pipelines" / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# %{pipeline-loops} and so on: what brings the form before to this one.
for stage in load_pipelines().stages():
    config.substitutions.append((f"%{{pipeline-{stage.name}}}", stage.pipeline))  # noqa: F821


def write_targets(folder: Path) -> None:
    """Every row of the table as a file that defines ``#target``, to stand in front of a test."""
    sys.path.insert(0, str(ROOT / "python"))
    from lumen_mlir.compiler.targets import TARGETS  # it needs nothing that is built either

    folder.mkdir(parents=True, exist_ok=True)
    for target in TARGETS:
        (folder / f"{target.name}.mlir").write_text(f"#target = {target.attribute()}\n")


TARGET_FILES = Path(config.test_exec_root) / "targets"  # noqa: F821
write_targets(TARGET_FILES)
config.substitutions.append(("%{targets}", str(TARGET_FILES)))  # noqa: F821

LUMEN_OPT = find_lumen_opt()
config.environment["PATH"] = os.pathsep.join(  # noqa: F821
    [str(LLVM_TOOLS), os.path.dirname(LUMEN_OPT), os.environ.get("PATH", "")]
)
