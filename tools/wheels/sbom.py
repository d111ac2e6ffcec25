# SPDX-License-Identifier: Apache-2.0
"""Writes what a wheel contains that is not Lumen's, as a CycloneDX file (a software bill of materials).

CMake calls it for static builds with the archives that are linked:
``sbom.py OUT.json --archives FILE --model FILE``. Which package an archive is of, and in which version, is
what Debian's package manager says. Equal inputs give equal files.
"""

import argparse
import datetime
import hashlib
import importlib.metadata
import json
import re
import subprocess
import sys
import uuid
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).parents[2]

# By the name of a package (a pattern): the component, its licence, and the file in licences/ with its text.
# A package that is linked and not listed ends the build.
ARCHIVES = {
    r"libmlir-\d+-dev": ("MLIR", "Apache-2.0 WITH LLVM-exception", "llvm.txt"),
    r"llvm-\d+-dev": ("LLVM", "Apache-2.0 WITH LLVM-exception", "llvm.txt"),
    r"zlib1g-dev": ("zlib", "Zlib", "zlib.txt"),
    r"libzstd-dev": ("zstd", "BSD-3-Clause", "zstd.txt"),
    r"libstdc\+\+-\d+-dev(-\w+-cross)?": (
        "libstdc++",
        "GPL-3.0-or-later WITH GCC-exception-3.1",
        "libstdc++.txt",
    ),
}

# The same for what the chat page contains, by the names of the packages in web/package.json.
PAGE = {
    "dompurify": ("Apache-2.0", "dompurify.txt"),
    "highlight.js": ("BSD-3-Clause", "highlight.js.txt"),
    "marked": ("MIT AND BSD-3-Clause", "marked.txt"),
    "preact": ("MIT", "preact.txt"),
    "temml": ("MIT", "temml.txt"),
}


def packages_of(archives: list[Path], root: Path) -> dict[str, tuple[str, str]]:
    """The Debian packages that the files below ``root`` are of: versions and architectures by name."""
    query = ["dpkg-query", "--admindir", root / "var/lib/dpkg"]
    paths = sorted({f"/{path.resolve().relative_to(root.resolve())}" for path in archives})
    command = [*query, "--search", *paths]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    packages = sorted({line.rpartition(": ")[0] for line in lines})
    shown = subprocess.run(
        [*query, "--show", "--showformat=${Package}\t${Version}\t${Architecture}\n", *packages],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return {name: (version, arch) for name, version, arch in map(str.split, shown.splitlines())}


def component(name: str, licence: str, **fields: object) -> dict[str, object]:
    """One entry of the list."""
    # An expression stands beside the names that SPDX has for single licences.
    entry = {"expression": licence} if " " in licence else {"license": {"id": licence}}
    return {"type": "library", "bom-ref": name, "name": name, "licenses": [entry], **fields}


def linked(archives: list[Path], root: Path) -> list[dict[str, object]]:
    """The components that the archives are of."""
    found = []
    for package, (version, arch) in packages_of(archives, root).items():
        known = next((row for pattern, row in ARCHIVES.items() if re.fullmatch(pattern, package)), None)
        if known is None:
            sys.exit(f"sbom.py: the package {package} is linked, but its licence is not listed here")
        name, licence, text = known
        if not (ROOT / "licences" / text).exists():
            sys.exit(f"sbom.py: licences/{text} is missing")
        purl = f"pkg:deb/debian/{quote(package)}@{quote(version, safe=':~')}?arch={arch}"
        found.append(component(name, licence, version=version, purl=purl))
    return found


def of_page() -> list[dict[str, object]]:
    """The components that the chat page is built from."""
    found = []
    for name, version in json.loads((ROOT / "web" / "package.json").read_text())["dependencies"].items():
        if name not in PAGE:
            sys.exit(f"sbom.py: the page contains {name}, but its licence is not listed here")
        licence, text = PAGE[name]
        if not (ROOT / "licences" / text).exists():
            sys.exit(f"sbom.py: licences/{text} is missing")
        found.append(component(name, licence, version=version, purl=f"pkg:npm/{name}@{version}"))
    return found


def bill(archives: list[Path], root: Path, model: Path, version: str, time: int) -> dict[str, object]:
    """The whole document, of this time in seconds."""
    nanobind = importlib.metadata.version("nanobind")
    content = hashlib.sha256(model.read_bytes()).hexdigest()
    components = [
        *linked(archives, root),
        *of_page(),
        component("nanobind", "BSD-3-Clause", version=nanobind, purl=f"pkg:pypi/nanobind@{nanobind}"),
        component("robin-map", "MIT", description="a part of nanobind"),
        component("llama.cpp", "MIT", description="codebooks and byte layouts of formats"),
        component("lumen-ko-comments-7m", "CC0-1.0", type="machine-learning-model")
        | {"hashes": [{"alg": "SHA-256", "content": content}]},
    ]
    components.sort(key=lambda entry: str(entry["name"]))
    when = datetime.datetime.fromtimestamp(time, datetime.timezone.utc)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([version, components])).urn,
        "version": 1,
        "metadata": {
            "timestamp": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": component("lumen-mlir", "Apache-2.0", version=version)
            | {"purl": f"pkg:pypi/lumen-mlir@{version}"},
        },
        "components": components,
        "dependencies": [{"ref": "lumen-mlir", "dependsOn": [str(entry["name"]) for entry in components]}],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--archives", type=Path, required=True, help="a file with a path on each line")
    parser.add_argument("--model", type=Path, required=True, help="the embedded model")
    parser.add_argument("--root", type=Path, default=Path("/"), help="where the packages are installed")
    parser.add_argument("--version", required=True, help="of Lumen")
    parser.add_argument("--time", type=int, default=0, help="of the sources, in seconds")
    options = parser.parse_args()
    archives = [Path(line) for line in options.archives.read_text().split("\n") if line]
    document = bill(archives, options.root, options.model, options.version, options.time)
    options.out.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
