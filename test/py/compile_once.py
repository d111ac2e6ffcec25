#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A launcher of compilers for CMake that keeps objects of the runtime library: several builds have the same.

    compile_once.py FOLDER COMPILER ARGUMENTS...

The key is the compiler, its arguments without the folder that the sources lie in, the source, and all headers
beside it. So bundles, which have copies of the sources, and builds of the checkout share objects.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# Options whose values say where something is written.
_OUTPUTS = ("-o", "-MF", "-MT", "-MQ")


def _key(command: list[str], source: Path, root: Path) -> str:
    """What tells an object from others; ``root`` has the folder "runtime"."""
    status = os.stat(command[0])
    digest = hashlib.blake2b(repr((command[0], status.st_size, status.st_mtime_ns)).encode(), digest_size=20)
    skipped = {place + 1 for place, word in enumerate(command) if word in _OUTPUTS}
    words = [word.replace(str(root), "") for place, word in enumerate(command) if place not in skipped]
    digest.update(repr(words).encode())
    for path in (source, *sorted((root / "runtime").rglob("*.h"))):
        digest.update(repr((str(path.relative_to(root)), path.read_bytes())).encode())
    return digest.hexdigest()


def _compile(command: list[str], folder: Path) -> int:
    """Runs a compiler, or takes what it has once written."""
    source = Path(command[-1])
    root = next((parent.parent for parent in source.parents if parent.name == "runtime"), None)
    if "-c" not in command or root is None or not Path(command[0]).is_absolute():
        return subprocess.run(command).returncode
    output, kept = Path(command[command.index("-o") + 1]), folder / _key(command, source, root)
    if kept.exists():
        os.utime(kept)
        output.write_bytes(kept.read_bytes())
        if "-MF" in command:
            headers = " ".join(map(str, sorted((root / "runtime").rglob("*.h"))))
            Path(command[command.index("-MF") + 1]).write_text(f"{output}: {source} {headers}\n")
        return 0
    done = subprocess.run(command, stderr=subprocess.PIPE)
    sys.stderr.buffer.write(done.stderr)
    if done.returncode == 0 and not done.stderr:  # (Warnings are said each time.)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix="new-", delete=False) as file:
            file.write(output.read_bytes())
        os.replace(file.name, kept)
    return done.returncode


if __name__ == "__main__":
    sys.exit(_compile(sys.argv[2:], Path(sys.argv[1])))
