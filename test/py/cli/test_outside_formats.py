# SPDX-License-Identifier: Apache-2.0
"""Formats that Lumen does not have: of an installed package, of a file, in GGUF files under own type ids."""

import os
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from cli_samples import rewrite

from lumen_mlir import formats
from lumen_mlir.errors import LumenError
from lumen_mlir.formats import plugins
from lumen_mlir.gguf import GGUFFile, described
from lumen_mlir.gguf import types as T
from lumen_mlir.gguf.writer import GGUFWriter
from lumen_mlir.testing.convert import convert_weights

DESCRIPTION = """
from lumen_mlir.formats.dsl import Codes, f32, quant_format, u8, unpack

@quant_format("{name}", block=32, group=16, bits=5, bias=-16)
class Outside:
    \"\"\"Two scales of 32 bits, low nibbles, high bits.\"\"\"

    scales: f32[2]
    low: u8[16]
    high: u8[4]

    def decode(b):
        return Codes(unpack(b.low, 4) | (unpack(b.high, 1) << {shift}), scale=b.scales)
"""
GREEDY = ("-p", "a b c", "-n", "8", "--temp", "0", "--ignore-eos")


@pytest.fixture
def file(tmp_path):
    """A plug-in file that defines ``from_file``, known in this process too."""
    path = tmp_path / "my_formats.py"
    path.write_text(DESCRIPTION.format(name="from_file", shift=4))
    return path


@pytest.fixture
def known(file, own_registry):
    plugins.load(str(file))
    return formats.get("from_file")


@pytest.fixture
def model(known, tiny, tmp_path):
    """The sound model in that format."""
    path = tmp_path / "outside.gguf"
    convert_weights(GGUFFile.open(tiny), path, "from_file")
    return path


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which pip has installed a package with an entry point."""
    folder = tmp_path_factory.mktemp("site")
    wheel = folder / "lumen_outside-1.2-py3-none-any.whl"
    info = "lumen_outside-1.2.dist-info"
    files = {
        "lumen_outside.py": DESCRIPTION.format(name="from_package", shift=4),
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: lumen-outside\nVersion: 1.2\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[lumen_mlir.formats]\nfrom_package = lumen_outside:Outside\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"]))
    arguments = ("install", "-q", "--no-index", "--no-deps", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", *arguments, "--target", folder / "packages", wheel]
    # What pip asks of other tools may want a home.
    subprocess.run(command, check=True, timeout=120, env={**os.environ, "HOME": str(folder)})
    return folder / "packages"


def test_plugin_files(process, file):
    for arguments in (
        ("--plugin", file, "formats"),
        ("formats", "--plugin", file),
        ("formats", "list", "--plugin", file),
    ):
        assert "\nfrom_file " in process(*arguments).stdout
    assert "\nfrom_file " in process("formats", env={"LUMEN_PLUGINS": str(file)}).stdout
    assert "\nfrom_file " not in process("formats").stdout
    # Twice is once.
    out = process("formats", "show", "from_file", "--plugin", file, env={"LUMEN_PLUGINS": str(file)}).stdout
    assert "class Outside:" in out and "lumen.format @from_file" in out


def test_plugin_modules(process, site):
    environment = {"PYTHONPATH": str(site)}
    assert "\nfrom_package " in process("formats", "--plugin", "lumen_outside", env=environment).stdout


def test_a_model_of_a_plugin_format(process, model, file, known):
    """The compiled kernels and the NumPy reference generate the same text, and the file is opaque without."""
    with_plugin = ("--plugin", file)
    tensors = process("inspect", model, "--tensors", *with_plugin).stdout
    assert re.search(rf"^blk\.0\.ffn_up\.weight +96 x 64 +from_file +{192 * 28:,} ", tensors, re.M)
    compiled = process("generate", model, *GREEDY, *with_plugin)
    reference = process("generate", model, *GREEDY, "--engine", "reference", *with_plugin)
    assert compiled.returncode == 0 and compiled.stdout.strip()
    assert compiled.stdout == reference.stdout
    out = process("compile", model, "--emit", "vector", *with_plugin).stdout
    assert "qlinear_from_file_" in out and "lumen.dot4" in out
    assert process("generate", model, *GREEDY).stderr.endswith(
        "is in the format 'from_file', which is not installed; name the file that describes it (it was "
        "'my_formats.py') with --plugin or in LUMEN_PLUGINS\n"
    )


def test_a_model_of_a_package_format(process, refused, site, tiny, tmp_path):
    path, environment = tmp_path / "packaged.gguf", {"PYTHONPATH": str(site)}
    code = (
        "import sys; from lumen_mlir.gguf import GGUFFile\n"
        "from lumen_mlir.testing.convert import convert_weights\n"
        "convert_weights(GGUFFile.open(sys.argv[1]), sys.argv[2], 'from_package')"
    )
    subprocess.run([sys.executable, "-c", code, tiny, path], check=True, env=environment, timeout=120)
    assert process("generate", path, *GREEDY, env=environment).stdout.strip()
    out = process("inspect", path, "--metadata", env=environment).stdout
    assert "lumen.format.10000.origin" in out and "package lumen-outside 1.2" in out
    assert refused("generate", path, *GREEDY).endswith(
        "is in the format 'from_package', which is not installed; install the package that describes it, "
        "which whoever made the file can name"
    )


def test_types_in_the_file(model, known, tmp_path):
    file = GGUFFile.open(model)
    assert file.metadata.string("lumen.format.10000") == "from_file"
    assert file.metadata.string("lumen.format.10000.fingerprint") == known.fingerprint
    assert file.metadata.string("lumen.format.10000.origin") == "file my_formats.py"
    # A copy of the file has the entries once.
    copy = rewrite(model, tmp_path / "copy.gguf")
    assert copy.read_bytes() == model.read_bytes()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"": None}, "has the unknown tensor type 10000"),
        ({"": ("other", T.STRING), ".origin": None}, "is in the format 'other', which is not installed;"),
        ({"": ("q4_k", T.STRING)}, "has type 10000, which 'lumen.format.10000' calls q4_k, .* number 12"),
        ({"": (7, T.U32)}, "has a type that 'lumen.format.10000' should name"),
        ({".fingerprint": ("00", T.STRING)}, "is in a format 'from_file' with the fingerprint '00'; .* my_"),
    ],
)  # fmt: skip
def test_damaged_entries(tiny, known, tmp_path, monkeypatch, entries, message):
    path, written = tmp_path / "damaged.gguf", described.metadata

    def metadata(described_type):
        changed = {key: (value, kind) for key, value, kind in written(described_type)}
        changed |= {f"lumen.format.10000{end}": entry for end, entry in entries.items()}
        return [(key, *entry) for key, entry in changed.items() if entry is not None]

    monkeypatch.setattr(described, "metadata", metadata)
    convert_weights(GGUFFile.open(tiny), path, "from_file")
    with pytest.raises(LumenError, match=f"^{path}: tensor '[a-z_0-9.]+' {message}"):
        GGUFFile.open(path)


def test_numbers_of_the_formats_own(own_registry, tmp_path, monkeypatch):
    """A format may claim a number that ggml has not given out; files of others then need no entries."""
    file = tmp_path / "numbered.py"
    text = DESCRIPTION.format(name="numbered", shift=4)
    file.write_text(text.replace("bits=5", "bits=5, ggml_type=77"))
    plugins.load(str(file))
    path = tmp_path / "numbered.gguf"
    writer = GGUFWriter(path)
    monkeypatch.setattr(described, "metadata", lambda kind: [])
    raw = np.arange(2 * 28, dtype=np.uint8)
    writer.add_tensor("t", (2, 32), "numbered", lambda: [raw])
    writer.write()
    read = GGUFFile.open(path)
    assert (read.tensors["t"].type, read.tensors["t"].nbytes) == ("numbered", 56)
    assert np.array_equal(read.raw("t"), raw)


def test_two_formats_in_one_file(own_registry, tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(DESCRIPTION.format(name=name, shift=4))
        plugins.load(str(tmp_path / f"{name}.py"))
    path = tmp_path / "both.gguf"
    writer = GGUFWriter(path)
    for index, name in enumerate(("one", "two", "one")):
        writer.add_tensor(f"t{index}", (1, 32), name, lambda: [np.zeros(28, np.uint8)])
    writer.write()
    file = GGUFFile.open(path)
    assert [info.type for info in file.tensors.values()] == ["one", "two", "one"]
    assert file.metadata.string("lumen.format.10001") == "two"
    with pytest.raises(LumenError, match="row length 48 is not a multiple of 32, the block size of one"):
        writer.add_tensor("t", (4, 48), "one", list)
    with pytest.raises(LumenError, match="unknown quantization format 'three'"):
        writer.add_tensor("t", (4, 64), "three", list)


def test_fingerprints_follow_the_meaning(own_registry, tmp_path):
    """Another spelling of the same decoding has the same fingerprint; another decoding has another."""

    def fingerprint(name, old, new):
        path = tmp_path / f"{name}.py"
        path.write_text(DESCRIPTION.format(name=name, shift=4).replace(old, new))
        plugins.load(str(path))
        return formats.get(name).fingerprint

    first = fingerprint("first", "", "")
    assert fingerprint("spelled", "unpack(b.low, 4) |", "0 + unpack(b.low, 4) +") == first
    assert fingerprint("biased", "bias=-16", "bias=-15") != first
    assert fingerprint("ordered", "unpack(b.low, 4)", "unpack(b.low, 4, chunk=1)") != first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_module_of_mine", "failed to load: ModuleNotFoundError: No module named"),
        ("x = (", "failed to load: SyntaxError: "),
        ("raise SystemExit(3)", "failed to load: SystemExit: 3"),
        (DESCRIPTION.format(name="wide", shift=5), "codes, of fields 'low' and 'high', reach 47, but"),
        (DESCRIPTION.format(name="q4_k", shift=4), "format 'q4_k' is already defined"),
        (DESCRIPTION.format(name="q8_k", shift=4), "format 'q8_k': the name belongs to a type of ggml's"),
    ],
)  # fmt: skip
def test_broken_plugins(refused, own_registry, tmp_path, text, message):
    path = tmp_path / "broken.py"
    path.write_text(text)
    assert refused("formats", "--plugin", path).startswith(f"plug-in '{path}'")
    assert message in refused("formats", env={"LUMEN_PLUGINS": str(path)})


def test_missing_plugins(refused, own_registry):
    assert refused("formats", "--plugin", "/nowhere/f.py") == "plug-in '/nowhere/f.py': there is no such file"
    said = "plug-in 'no_such.module' failed to load: ModuleNotFoundError: No module named 'no_such'"
    assert refused("--plugin", "no_such.module", "formats") == said
