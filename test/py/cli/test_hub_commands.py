# SPDX-License-Identifier: Apache-2.0
"""Models by name: ``lumen pull``, ``list`` and ``rm``, and ``hf:`` names wherever a model is named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gguf_samples import split_model
from hf_samples import write_folder
from stand_in import Repo
from terminals import on_a_terminal

from lumen_mlir import LLM
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.scripted import write_scripted

NAME = "hf:user/yes-GGUF"
RUN = ("-q", "--engine", "reference", "-p", "[A]")


@pytest.fixture(scope="session")
def yes(tmp_path_factory) -> bytes:
    """A model file: behind "[A]" it says "Yes"."""
    path = tmp_path_factory.mktemp("models") / "yes.gguf"
    template = "{% for m in messages %}<{{ m.content }}>{% endfor %}[A]"
    write_scripted(path, ["[A]", "Yes", "</s>"], control=["</s>", "[A]"], eos="</s>", template=template)
    return path.read_bytes()


@pytest.fixture
def repo(hub, yes) -> Repo:
    """A repository with that model, in what is called two formats."""
    files = {
        "README.md": b"# Yes",
        "yes-Q4_K_M.gguf": yes,
        "yes-Q8_0.gguf": yes + b"\0" * 32,
        "mmproj.gguf": yes,
    }
    hub.repos["user/yes-GGUF"] = Repo(files)
    return hub.repos["user/yes-GGUF"]


def test_pull_run_list_remove(lumen, hub, repo, yes, hub_cache):
    done = lumen("pull", NAME)
    assert done.returncode == 0, done
    path = hub_cache / "models--user--yes-GGUF" / "snapshots" / repo.tree("main")[0] / "yes-Q4_K_M.gguf"
    assert done.stdout == f"{path}\n" and path.read_bytes() == yes
    first, last = done.stderr.splitlines()
    assert first == f"lumen: downloading {len(yes) / 1e6:.2f} MB"
    assert last.startswith(f"lumen: {NAME}: {len(yes) / 1e6:.2f} MB downloaded in ")
    assert lumen("generate", NAME, *RUN).stdout == "Yes\n"

    hub.requests.clear()
    again = lumen("pull", "user/yes-GGUF:Q4_K_M")
    assert again.stdout == done.stdout
    assert again.stderr.endswith(f":Q4_K_M: is here, the newest version, {len(yes) / 1e6:.2f} MB\n")
    assert [request.path for request in hub.requests] == ["/api/models/user/yes-GGUF/revision/main"]

    header, row = lumen("list").stdout.splitlines()
    assert header.split() == ["name", "format", "size", "last", "used"]
    assert row.split()[:4] == [f"{NAME}:q4_k_m", "q4_k_m", f"{len(yes) / 1e6:.2f}", "MB"]
    (listed,) = json.loads(lumen("list", "--json").stdout)
    assert (listed["name"], listed["path"], listed["size"]) == (f"{NAME}:q4_k_m", str(path), len(yes))

    done = lumen("rm", NAME)
    assert f"lumen: {NAME}:q4_k_m: removed, {len(yes) / 1e6:.2f} MB" in done.stderr.splitlines()
    assert "lumen cache" in done.stderr
    assert not list(hub_cache.glob("models--*"))
    assert "no models" in lumen("list").stdout and lumen("list", "--json").stdout == "[]\n"


def test_what_is_here_needs_no_hub(lumen, refused, hub, repo):
    """A name is downloaded at its first use; after that nothing is asked, so it also works offline."""
    offline = {"HF_HUB_OFFLINE": "1"}
    assert refused("generate", NAME, *RUN, env=offline) == (
        f"{NAME}: is not on this machine, and HF_HUB_OFFLINE is set; "
        f"'lumen pull {NAME}' downloads it where that is not"
    )
    assert not hub.requests
    assert lumen("generate", f"{NAME}:q8_0", *RUN).stdout == "Yes\n"
    hub.requests.clear()
    # Without a format, what is here is used.
    for name in (NAME, f"{NAME}:Q8_0", "hf.co/user/yes-GGUF", f"{NAME}/yes-Q8_0.gguf"):
        assert lumen("generate", name, *RUN, env=offline).stdout == "Yes\n"
    assert not hub.requests
    assert "is not on this machine" in refused("generate", f"{NAME}:q4_k_m", *RUN, env=offline)
    assert "is here, which may be older (HF_HUB_OFFLINE), " in lumen("pull", NAME, env=offline).stderr


COMMANDS = {
    "chat": ("-q", "--engine", "reference", "-p", "?"),
    "bench": ("--dry-run",),
    "inspect": (),
    "tokenize": ("-p", "[A]"),
    "compile": ("--emit", "lumen"),
    "quantize": ("--format", "q8_0", "--dry-run"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_names_stand_for_models(lumen, repo, command, tmp_path, yes):
    (tmp_path / "yes.gguf").write_bytes(yes)
    by_name = lumen(command, NAME, *COMMANDS[command])
    by_path = lumen(command, tmp_path / "yes.gguf", *COMMANDS[command])
    assert by_name.returncode == by_path.returncode == 0, by_name
    # The first line has the path, and free memory changes.
    lines = [done.stdout.partition("free memory")[0].splitlines()[1:] for done in (by_name, by_path)]
    assert lines[0] == lines[1]


def test_the_option_of_llama_cpp(lumen, refused, repo):
    for words in (("-hf", "user/yes-GGUF:Q4_K_M"), ("--hf-repo", "user/yes-GGUF"), ("-hf", NAME)):
        assert lumen("generate", *words, *RUN).stdout == "Yes\n"
    said = refused("generate", "-hf", "user/yes-GGUF", "other.gguf", *RUN, code=2)
    assert said.startswith(f"there are two models: other.gguf and -m {NAME} (see ")
    assert "USER/REPO was expected" in refused("chat", "-hf", "yes", *RUN[:1], "-p", "a")


def test_split_models(lumen, hub, tmp_path):
    _, paths = split_model(tmp_path)
    hub.repos["user/split"] = Repo({f"Q8_0/{path.name}": path.read_bytes() for path in paths})
    done = lumen("inspect", "hf:user/split:q8_0")
    assert done.returncode == 0 and "runs" in done.stdout, done
    assert len(hub.asked("/content/")) == 3


def test_folders(lumen, refused, hub, tmp_path):
    folder = write_folder(tmp_path / "model", "llama", "F16", shards=2)
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    hub.repos["user/folder"] = Repo({**files, "pytorch_model.bin": b"\0" * 5000})
    assert "safetensors" in lumen("inspect", "hf:user/folder").stdout
    assert not hub.asked("pytorch_model.bin")
    hub.requests.clear()
    run = ("-q", "--engine", "reference", "-p", "a", "-n", "1", "--temp", "0")
    quantized = lumen("generate", "hf:user/folder:q8_0", *run)
    assert quantized.returncode == 0 and not hub.requests, quantized
    assert quantized.stdout == lumen("generate", folder, "--format", "q8_0", *run).stdout
    assert refused("generate", "hf:user/folder:q8_0", "--format", "q4_0", *run) == (
        "hf:user/folder:q8_0: asks for q8_0, but --format for q4_0"
    )
    done = lumen("convert", "hf:user/folder", tmp_path / "out.gguf")
    assert done.returncode == 0 and (tmp_path / "out.gguf").stat().st_size, done
    (listed,) = json.loads(lumen("list", "--json").stdout)
    assert (listed["name"], listed["format"]) == ("hf:user/folder", "safetensors")
    # The folder is called by its commit, the model is not.
    assert "\nname           folder\n" in lumen("inspect", "hf:user/folder").stdout
    assert lumen("rm", "hf:user/folder:q8_0").returncode == 0
    assert lumen("list", "--json").stdout == "[]\n"


def test_convert_needs_a_folder(refused, repo, tmp_path):
    assert refused("convert", NAME, tmp_path / "out.gguf") == (
        f"{NAME}: has no model in safetensors; a Hugging Face folder was expected"
    )


def test_newer_versions(lumen, hub, repo, yes):
    """``pull`` fetches them; the older one is used until then, and stays until it is removed."""
    lumen("pull", NAME)
    repo.files = {**repo.files, "yes-Q4_K_M.gguf": yes + b"\0" * 64}
    assert lumen("generate", NAME, *RUN).stdout == "Yes\n" and len(hub.asked("/content/")) == 1
    assert "downloaded" in lumen("pull", NAME).stderr
    names = sorted(each["name"] for each in json.loads(lumen("list", "--json").stdout))
    old, new = sorted(names, key=lambda name: "@" not in name)
    assert new == f"{NAME}:q4_k_m" and old.startswith(f"{NAME}@")
    assert lumen("generate", old, *RUN, env={"HF_HUB_OFFLINE": "1"}).stdout == "Yes\n"
    assert f"lumen: {old}: removed, {len(yes) / 1e6:.2f} MB" in lumen("rm", old).stderr
    assert [each["name"] for each in json.loads(lumen("list", "--json").stdout)] == [new]
    # A version that differs in other files has the same model.
    repo.files = {**repo.files, "README.md": b"# New"}
    hub.requests.clear()
    assert "newest version" in lumen("pull", NAME).stderr and not hub.asked("/content/")
    assert [each["name"] for each in json.loads(lumen("list", "--json").stdout)] == [new]
    assert lumen("rm", NAME).returncode == 0 and lumen("list", "--json").stdout == "[]\n"


def test_revisions(lumen, refused, hub, repo, yes):
    repo.branches["v1"] = {"yes-Q4_K_M.gguf": yes + b"\0" * 96}
    for _ in range(2):
        assert lumen("generate", f"{NAME}@v1:q4_k_m", *RUN).stdout == "Yes\n"
    assert len(hub.asked("/content/")) == 1 and hub.requests[0].path.endswith("/revision/v1")
    assert refused("pull", f"{NAME}@v2") == f"{NAME}@v2: there is no revision 'v2'"


def test_remove_asks_back(lumen, refused, repo):
    lumen("pull", NAME, f"{NAME}:q8_0")
    said = refused("rm", NAME)
    assert "could be" in said and f"{NAME}:q8_0" in said and "--all" in said
    assert f"there are {NAME}:q" in refused("rm", f"{NAME}:q2_k")
    assert refused("rm", "hf:user/other") == (
        "hf:user/other: is not on this machine ('lumen list' shows what is)"
    )
    # A name that is wrong keeps the others.
    assert refused("rm", f"{NAME}:q8_0", "hf:user/other")
    assert len(json.loads(lumen("list", "--json").stdout)) == 2
    assert lumen("rm", "--all", NAME).returncode == 0
    assert lumen("list", "--json").stdout == "[]\n"


def test_contents_that_models_share(lumen, hub, repo, yes):
    repo.files["copy-Q4_0.gguf"] = yes
    lumen("pull", NAME, f"{NAME}:q4_0")
    assert len(hub.asked("/content/")) == 1
    assert lumen("rm", f"{NAME}:q4_0").returncode == 0
    assert lumen("generate", f"{NAME}:q4_k_m", *RUN, env={"HF_HUB_OFFLINE": "1"}).stdout == "Yes\n"


def test_contents_that_repositories_share(lumen, repo, hub_cache):
    """huggingface_hub may keep them once for all repositories: others need them, perhaps."""
    lumen("pull", NAME)
    (blob,) = hub_cache.glob("models--*/blobs/*")
    store = hub_cache / "blobs" / "ab" / blob.name
    store.parent.mkdir(parents=True)
    blob.rename(store)
    blob.symlink_to(store)
    assert lumen("generate", NAME, *RUN).stdout == "Yes\n"
    done = lumen("rm", NAME)
    assert f"lumen: {NAME}:q4_k_m: removed, 0 bytes (others share" in done.stderr
    assert store.exists() and not blob.is_symlink() and lumen("list", "--json").stdout == "[]\n"


def test_models_of_other_kinds_are_not_listed(lumen, hub, hub_cache, repo):
    """The cache has what other programs downloaded."""
    commit = "0" * 40
    for name, config in {"bert": b'{"architectures": ["BertModel"]}', "broken": b"{"}.items():
        folder = hub_cache / f"models--user--{name}" / "snapshots" / commit
        folder.mkdir(parents=True)
        (folder / "config.json").write_bytes(config)
        (folder / "tokenizer.json").write_bytes(b"{}")
        (folder / "model.safetensors").write_bytes(b"\0" * 100)
    (hub_cache / "datasets--user--data").mkdir()
    (hub_cache / "version.txt").write_text("1")
    lumen("pull", NAME)
    assert [each["name"] for each in json.loads(lumen("list", "--json").stdout)] == [f"{NAME}:q4_k_m"]
    assert refused_name(lumen("rm", "hf:user/bert"))


def refused_name(done) -> bool:
    return done.returncode == 1 and "is not on this machine" in done.stderr


def test_without_the_package(lumen, refused, repo, monkeypatch):
    lumen("pull", NAME)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert refused("pull", f"{NAME}:q8_0") == (
        "models from the hub need the package huggingface_hub: pip install 'lumen-mlir[hub]'"
    )
    # What is here needs it no more.
    assert lumen("generate", NAME, *RUN).stdout == "Yes\n"
    assert lumen("list").returncode == 0 and lumen("rm", NAME).returncode == 0


# --- processes, with the variables as users set them --------------------------------------------------------


@pytest.fixture
def variables(hub, hub_cache, environment) -> dict[str, str]:
    names = ("HF_HOME", "HF_ENDPOINT", "NO_PROXY")
    return {**environment, **{name: os.environ[name] for name in names}}


def test_stopped_and_gone_on_with(lumen, process, hub, variables, hub_cache):
    """What came until Ctrl-C is kept, and shown, and not asked for again."""
    data = bytes(12 << 20)
    hub.repos["user/big"] = Repo({"big-q8_0.gguf": data})
    hub.hold = 11 << 20
    command = [sys.executable, "-m", "lumen_mlir", "pull", "hf:user/big"]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        deadline = time.monotonic() + 60
        while (kept := _kept(hub_cache)) != [10 << 20] and time.monotonic() < deadline:
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    hub.go_on.set()
    assert (running.returncode, out) == (130, b"")
    assert err.decode().splitlines() == [
        f"lumen: downloading {len(data) / 1e6:.2f} MB",
        "lumen: stopped; 'lumen pull hf:user/big' goes on from there",
    ]
    assert kept == [10 << 20]
    assert "hf:user/big: 10.49 MB of an interrupted download ('lumen pull' goes on" in lumen("list").stdout
    hub.hold = None
    done = process("pull", "hf:user/big", "-q", env=variables)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.endswith("big-q8_0.gguf\n"), done
    assert hub.asked("/content/")[-1].range == f"bytes={10 << 20}-"
    assert _kept(hub_cache) == []


def _kept(cache: Path) -> list[int]:
    return [size for path in cache.glob("*/blobs/*.incomplete") if (size := path.stat().st_size)]


def test_interrupted_downloads_are_removed(lumen, hub, hub_cache, monkeypatch):
    hub.repos["user/big"] = Repo({"a-q8_0.gguf": bytes(50_000), "b-q4_0.gguf": b"1" * 50_000})
    blobs = hub_cache / "models--user--big" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "0.incomplete").write_bytes(b"1" * 1000)
    lumen("pull", "hf:user/big:q8_0")
    # Another one is what is whole; this one is not known by its format.
    lumen("rm", "hf:user/big:q8_0")
    assert _kept(hub_cache) == [1000]
    assert "an interrupted download removed, 1.00 kB" in lumen("rm", "hf:user/big").stderr
    assert not (hub_cache / "models--user--big").exists()


def test_progress_on_a_terminal(hub, variables):
    """A bar with bytes, which is gone at the end; other names on the terminal are made visible."""
    hub.repos["user/big"] = Repo({"big-q8_0.gguf": bytes(12 << 20)})
    code, text = on_a_terminal(variables, "pull", "hf:user/big")
    assert code == 0 and "downloading" in text and "/12.6 MB" in text
    assert "hf:user/big: 12.58 MB downloaded in" in text.replace("\n", "")
    hub.repos["user/evil"] = Repo({"\x1b]0;owned\x07-q8_0.gguf": bytes(9000)})
    code, text = on_a_terminal(variables, "pull", "hf:user/evil")
    assert code == 1 and "\x1b]0;owned" not in text and "owned" in text


def test_python(hub, repo, cache):
    """``LLM`` takes names, and tells of the download."""
    told = []
    with LLM(
        f"{NAME}:q4_k_m", engine="reference", cache=Cache(cache), progress=lambda *each: told.append(each)
    ) as llm:
        assert llm.generate("[A]").text() == "Yes" and "hf:user/yes-GGUF:q4_k_m" in repr(llm)
    assert [each for each in told if each[0] == "download"][-1][1] == len(repo.files["yes-Q4_K_M.gguf"])
