# SPDX-License-Identifier: Apache-2.0
"""A bundle is built by CMake, here and for 64-bit ARM, and its programs write what Lumen writes."""

import fcntl
import getpass
import os
import random
import re
import shutil
import signal
import subprocess
from pathlib import Path

import embed_library as embed
import emulated
import pytest

from lumen_mlir import LLM
from lumen_mlir.cli import main
from lumen_mlir.compiler import targets
from lumen_mlir.generate.generation import StopFilter
from lumen_mlir.testing.emulation import EMULATORS
from lumen_mlir.text import tokenizer_file
from lumen_mlir.text.chat_turn import ChatTurn
from lumen_mlir.text.token_types import CONTROL
from lumen_mlir.version import __version__

_PROMPT = "주말에 가족들과"
_EXAMPLES = embed.REPOSITORY / "examples" / "embed"
# The least that 64-bit ARM runs.
_ARM = [target.name for target in targets.TARGETS if target.architecture == "aarch64"][-1]


class Bundle:
    """A bundle with its example in C, built where builds are kept."""

    def __init__(self, name: str, target: str, options: tuple[str, ...], command: tuple[str, ...] = ()):
        folder = embed.BUILDS / name
        self.path, self.build = folder / "bundle", folder / "build"
        folder.mkdir(parents=True, exist_ok=True)
        assert main(["compile", "--target", target, "--bundle", str(self.path), "-q"]) == 0
        toolchain = [f"-DCMAKE_TOOLCHAIN_FILE={self.path / 'toolchain.cmake'}"] if command else []
        embed.build(_EXAMPLES / "c", self.build, f"-DBUNDLE={self.path}", *toolchain, *options)
        self._command = command

    @property
    def lumen_run(self) -> Path:
        return self.build / "bundle" / "lumen-run"

    def run(self, *arguments: object, bundle: object = None, program: Path | None = None):
        """Runs the example, or another program."""
        command = [*self._command, program or self.build / "continue", bundle or self.path, *arguments]
        return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def native():
    return Bundle("native", "native", ())


@pytest.fixture(scope="module")
def arm():
    emulated.check_installed()
    emulator = EMULATORS["aarch64"]
    # (In few parts, which takes a third of the time. The native one is built file by file.)
    few = ("-DCMAKE_UNITY_BUILD=ON", "-DCMAKE_UNITY_BUILD_BATCH_SIZE=12")
    return Bundle("aarch64", _ARM, few, (*emulator.command, emulator.cpus[0]))


@pytest.fixture(scope="module")
def expected():
    """Texts of Lumen by temperature and seed."""
    with LLM(threads=1) as llm:
        texts = {(0, 1): llm.generate(_PROMPT, 24, temperature=0).text()}
        for seed in (1, 2, 3):
            texts[0.9, seed] = llm.generate(_PROMPT, 24, temperature=0.9, seed=seed).text()
    assert len(set(texts.values())) == 4
    return texts


def test_the_text_is_that_of_lumen(native, expected):
    for (temperature, seed), text in expected.items():
        done = native.run(_PROMPT, 24, temperature, seed)
        assert (done.returncode, done.stdout, done.stderr) == (0, text + "\n", "")


@pytest.mark.emulated
def test_the_text_on_arm(arm, expected):
    """In an emulator of a CPU that has nothing besides NEON."""
    done = arm.run(_PROMPT, 24)
    assert (done.returncode, done.stdout, done.stderr) == (0, expected[0, 1] + "\n", "")


def check_lumen_run(bundle: Bundle, texts: dict) -> None:
    """The program that every bundle has is small, and writes the same texts."""
    for (temperature, seed), text in texts.items():
        options = ["-p", _PROMPT, "-n", 24, "--temp", temperature, "--seed", seed, "-t", 2, "-q"]
        done = bundle.run(*options, program=bundle.lumen_run)
        assert (done.returncode, done.stdout, done.stderr) == (0, text + "\n", "")
    assert embed.SANITIZERS or bundle.lumen_run.stat().st_size < 2_000_000


def test_lumen_run(native, expected):
    check_lumen_run(native, expected)


def test_ways_to_draw(native):
    """All that ``lumen generate`` has."""
    chosen = {"typical_p": 0.8, "presence_penalty": 1.5, "frequency_penalty": 0.5, "repeat_penalty": 1.1}
    options = [word for name, x in chosen.items() for word in (f"--{name.replace('_', '-')}", x)]
    done = native.run(
        "-p", _PROMPT, "-n", 24, "-s", 4, "--ignore-eos", "-q", *options, program=native.lumen_run
    )
    with LLM(threads=1) as llm:
        text = llm.generate(_PROMPT, 24, seed=4, ignore_eos=True, **chosen).text()
        assert text != llm.generate(_PROMPT, 24, seed=4, ignore_eos=True).text()
    assert (done.returncode, done.stdout, done.stderr) == (0, text + "\n", "")


@pytest.mark.emulated
def test_lumen_run_on_arm(arm, expected):
    check_lumen_run(arm, dict(list(expected.items())[:2]))


@pytest.mark.emulated
def test_bundles_of_others(native, arm, tmp_path):
    done = native.run("x", bundle=arm.path)
    assert done.returncode == embed.TARGET and done.stdout == ""
    assert done.stderr.endswith(f"made for aarch64 (target {_ARM}); this program runs on x86_64\n")
    done = arm.run("x", bundle=native.path)
    assert done.returncode == embed.TARGET
    assert done.stderr.endswith("; this program runs on aarch64\n")
    done = native.run("x", bundle=tmp_path)
    assert done.returncode == embed.FILE and done.stderr.count("\n") == 1


@pytest.mark.emulated
def test_a_bundle_needs_its_compiler(arm, tmp_path):
    """Without the toolchain, CMake says for what the bundle is."""
    done = subprocess.run(["cmake", "-S", arm.path, "-B", tmp_path], capture_output=True, text=True)
    assert done.returncode != 0 and "this bundle is for aarch64, not for x86_64" in done.stderr


def test_only_two_files_are_read(native, tmp_path):
    for name in ("weights.lumen", "tokenizer.bin"):
        shutil.copy(native.path / name, tmp_path)
    assert native.run(_PROMPT, 3, bundle=tmp_path).stdout == native.run(_PROMPT, 3).stdout
    (tmp_path / "tokenizer.bin").unlink()
    done = native.run(_PROMPT, 3, bundle=tmp_path)
    assert done.returncode == embed.FILE and "tokenizer.bin" in done.stderr


def test_rust(native, expected, tmp_path):
    """The example in Rust, where its compiler is there: no other test needs it."""
    if embed.SANITIZERS:
        pytest.skip("the program would need the sanitizers' runtime from another compiler")
    if shutil.which("cargo") is None:
        pytest.skip("there is no Rust (apt-get install cargo)")
    command = [
        "cargo", "build", "--offline", "--manifest-path", _EXAMPLES / "rust" / "Cargo.toml",
        "--target-dir", embed.BUILDS / "rust", "--locked", "--quiet",
    ]  # fmt: skip
    library = native.build / "bundle"
    environment = {**os.environ, "BUNDLE_BUILD": str(library), "RUSTFLAGS": "-Dwarnings"}
    environment["CARGO_HOME"] = str(tmp_path / "cargo")
    # Of a Rust that somebody has installed at home, which is not the home of tests.
    environment.setdefault("RUSTUP_HOME", f"{Path('~' + getpass.getuser()).expanduser()}/.rustup")
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    program = embed.BUILDS / "rust" / "debug" / "continue"
    for (temperature, seed), text in expected.items():
        words = [program, native.path, _PROMPT, 24, temperature, seed]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, text + "\n", "")
    done = subprocess.run([program, tmp_path, "x"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith(
        f"continue: {tmp_path}/weights.lumen: cannot be opened"
    )


# --- lumen-run ----------------------------------------------------------------------------------------------


def lumen_run(bundle: Bundle, *arguments: object, **options: object) -> subprocess.CompletedProcess:
    """Runs the program of a native bundle with any arguments."""
    options = {"stdin": subprocess.DEVNULL, "timeout": 120} | options
    command = [str(word) for word in (bundle.lumen_run, *arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


@pytest.mark.parametrize(
    "options",
    [
        ("--echo",),
        ("--special", "--ignore-eos"),
        ("-e", "-p", r"좋은\n영화 \"하나\" \q\\"),
        ("--top-k", "0", "--top-p", "1", "--min-p", "0", "-s", "3"),
        ("--top-k", "5", "--repeat-penalty", "1.3", "-s", "4", "-n", "40"),
        ("-p", ""),
        ("-p", "\u1112\u1161\u11ab\u1100\u116e\u11a8 😀 <|im_end|> a\tb"),
        ("-n", "-1", "-c", "30", "--ignore-eos", "-t", "2"),
        ("--stop", "재밌", "--stop", "정말"),
        ("--stop", "봤어요. ", "--stop", "게\n", "--echo"),
        ("--stop", ".<|endoftext|>", "-n", "40"),
        ("--stop", "t|>", "--special", "-n", "40"),
    ],
)
def test_lumen_run_takes_the_options_of_lumen(native, options, capsys):
    prompt = () if "-p" in options else ("-p", _PROMPT)
    common = (*prompt, "-n", "16", "--temp", "0" if "-s" not in options else "0.9", *options)
    done = lumen_run(native, native.path, *common, "-q")
    assert (done.returncode, done.stderr) == (0, "")
    assert main(["generate", *common, "-q"]) == 0
    assert done.stdout == capsys.readouterr().out


def test_lumen_run_reads_files_and_stdin(native, tmp_path):
    wanted = lumen_run(native, native.path, "-p", _PROMPT, "-n", 5, "--temp", 0).stdout
    path = tmp_path / "prompt.txt"
    path.write_bytes(b"\xef\xbb\xbf" + f"{_PROMPT}\r\n".encode())
    for options, given in ((("-f", path), None), (("-f", "-"), _PROMPT + "\n"), ((), _PROMPT)):
        streams = {} if given is None else {"input": given, "stdin": None}
        done = lumen_run(native, native.path, *options, "-n", 5, "--temp", 0, **streams)
        assert (done.returncode, done.stdout) == (0, wanted)


def test_lumen_run_says_how_fast_it_was(native):
    done = lumen_run(native, native.path, "-p", _PROMPT, "-n", 5, "--temp", 0, "--ignore-eos")
    assert re.fullmatch(
        r"lumen-run: 5 tokens at [\d,.]+/s, prompt \d+ at [\d,.]+/s, loaded in \d+\.\d\d s, \d+ MB\n",
        done.stderr,
    )
    done = lumen_run(native, native.path, "-p", _PROMPT, "-n", 40, "-c", 12, "--temp", 0, "--ignore-eos")
    assert done.stderr.startswith("lumen-run: warning: the context of 12 tokens is full\n")
    assert lumen_run(native, "--version").stdout == f"lumen-run {__version__}\n"
    text = lumen_run(native, "--help").stdout
    assert text.startswith("Usage: lumen-run BUNDLE") and max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        ((), 2, "the folder of a bundle is missing"),
        (("BUNDLE", "x"), 2, "'x' is one argument too many"),
        (("BUNDLE", "--nope"), 2, "there is no option '--nope'"),
        (("BUNDLE", "-n"), 2, "--max-tokens needs a value"),
        (("BUNDLE", "-n", "x"), 2, "--max-tokens is 'x'; a whole number from -1 to"),
        (("BUNDLE", "-s", "9" * 30), 2, "--seed is '9999"),
        (("BUNDLE", "--temp", "nan"), 2, "--temp is 'nan'; a number was expected"),
        (("BUNDLE", "-t", "0"), 2, "--threads is '0'; a whole number from 1 to 1024 was expected"),
        (("BUNDLE", "-p", "a", "-f", "b"), 2, "-p and -f exclude each other"),
        (("BUNDLE", "--stop", ""), 1, "a stop string is empty"),
        (("BUNDLE", "--stop", b"a\xff"), 1, "a stop string is not valid UTF-8"),
        (("BUNDLE", *["--stop", "a"] * 1025), 1, "there are more than 1024 stop strings"),
        (("BUNDLE", "-f", "/no/file"), 1, "/no/file: cannot be opened: No such file or directory"),
        (("BUNDLE", "-f", "/"), 1, "/: cannot be read: Is a directory"),
        (("/no/bundle", "-p", "a"), 1, "/no/bundle/weights.lumen: cannot be opened"),
        (("BUNDLE", "-p", b"a\xff"), 1, "the text is not valid UTF-8 at byte 1"),
        (("BUNDLE", "-p", "a", "--top-p", "3"), 1, "top_p is 3"),
        (("BUNDLE", "-p", "a", "-c", "1000000"), 1, "1000000 tokens"),
        (("BUNDLE", "-p", _PROMPT * 9, "-c", "8"), 1, "tokens long, but the context is 8 tokens"),
    ],
)
def test_lumen_run_says_what_is_wrong(native, arguments, code, message):
    words = [native.path if word == "BUNDLE" else word for word in arguments]
    done = lumen_run(native, *(os.fsdecode(word) for word in words))
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("lumen-run: error: ") and message in done.stderr
    assert done.stderr.count("\n") == 1


def test_lumen_run_answers_a_message(native, tmp_path):
    template = "{% for m in messages %}질문: {{ m.content | trim }}\n답:{% endfor %}"
    shutil.copy(native.path / "weights.lumen", tmp_path)
    with LLM(threads=1, chat_template=template) as llm, open(tmp_path / "tokenizer.bin", "wb") as file:
        turn = ChatTurn.of_template(llm.chat_template, llm.tokenizer)
        tokenizer_file.write(llm.tokenizer, file, turn)
        wanted = llm.chat(" 영화는? ", 16, temperature=0, special=False).text()
    done = lumen_run(native, tmp_path, "--chat", "-p", " 영화는? ", "-n", 16, "--temp", 0, "-q")
    assert (done.returncode, done.stdout.removesuffix("\n"), done.stderr) == (0, wanted, "")
    done = lumen_run(native, native.path, "--chat", "-p", "a")
    assert (done.returncode, done.stderr) == (1, "lumen-run: error: the model has no chat template\n")


def test_lumen_run_stops_at_control_tokens(native, tmp_path, monkeypatch):
    """A text ends before a string that a token which is not shown is part of."""
    shutil.copy(native.path / "weights.lumen", tmp_path)
    with LLM(threads=1) as llm:
        generation = llm.generate(_PROMPT, 6, temperature=0)
        assert generation.text()
        tokens = generation.tokens
        tokenizer = llm.tokenizer
        types = tokenizer.types.copy()
        types[tokens[3]] = CONTROL
        monkeypatch.setattr(tokenizer, "_types", types)
        with open(tmp_path / "tokenizer.bin", "wb") as file:
            tokenizer_file.write(tokenizer, file)
        texts = [tokenizer.token_bytes(token, special=True).decode() for token in tokens]
        hidden, across = texts[3], texts[2][-1:] + texts[4][:2]
        for stop in (hidden, texts[2][-1:] + hidden + texts[4][:1], hidden + "x", across):
            for options in ((), ("--special",)):
                wanted = llm.generate(_PROMPT, 6, temperature=0, stop=[stop], special=bool(options)).text()
                words = ["-p", _PROMPT, "-n", 6, "--temp", 0, "--stop", stop, "-q", *options]
                done = lumen_run(native, tmp_path, *words)
                assert (done.returncode, done.stdout.removesuffix("\n"), done.stderr) == (0, wanted, "")


def test_stop_strings_in_pieces(tmp_path):
    """Pieces with and without hidden ones between them, beside what Python makes of them."""
    source = embed.REPOSITORY / "test" / "runtime" / "stop_filter.cpp"
    filtering = embed.REPOSITORY / "runtime" / "lumen-run" / "StopFilter.cpp"
    command = ["c++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-I", embed.REPOSITORY, source, filtering]
    done = subprocess.run(
        [*map(str, command), "-o", str(tmp_path / "filter")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rng, given, wanted, ended = random.Random(12), [], [], 0

    def some(most: int, least: int = 0) -> str:
        return "".join(rng.choices("ab가", k=rng.randint(least, most)))

    for _ in range(1000):
        filtered = StopFilter([some(4, 1) for _ in range(rng.randint(0, 3))])
        given += [f"stop {text}" for text in filtered.stops]
        for _ in range(rng.randint(0, 8)):
            kind, text = rng.choice(("shown", "shown", "hidden")), some(3)
            given.append(f"{kind} {text}")
            wanted.append(filtered.feed(text, kind == "hidden"))
        given.append("end")
        wanted.append(filtered.finish())
        ended += filtered.found is not None
    assert 100 < ended < 900
    text = "".join(f"{line}\n" for line in given)
    done = subprocess.run([tmp_path / "filter"], input=text, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.splitlines()) == (0, wanted)


def test_lumen_run_refuses_a_damaged_tokenizer(native, tmp_path):
    for name in ("weights.lumen", "tokenizer.bin"):
        shutil.copy(native.path / name, tmp_path)
    data = bytearray((tmp_path / "tokenizer.bin").read_bytes())
    data[5000] ^= 1
    (tmp_path / "tokenizer.bin").write_bytes(data)
    done = lumen_run(native, tmp_path, "-p", "a")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("tokenizer.bin: is damaged: its checksum is another one\n")


def test_lumen_run_on_a_full_disk(native):
    with open("/dev/full", "w") as full:
        command = [native.lumen_run, native.path, "-p", "a", "-q"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "lumen-run: error: standard output cannot be written: No space left on device\n"


def test_ctrl_c_ends_the_text(native):
    # With a pipe that is full, it waits amid the text when the signal comes.
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    command = [native.lumen_run, native.path, "-p", _PROMPT, "-n", "-1", "--ignore-eos"]
    with subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE, text=True) as process:
        os.close(writing)
        with open(reading, "rb") as stream:
            begin = stream.read(1)
            process.send_signal(signal.SIGINT)
            text = begin + stream.read()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and text.endswith(b"\n")
    assert re.fullmatch(r"lumen-run: [\d,]+ tokens?\b.*\n", said) and "context" not in said
