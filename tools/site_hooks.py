# SPDX-License-Identifier: Apache-2.0
"""What the site needs besides the pages in docs/: hooks of MkDocs, named in mkdocs.yml.

Pages are written for readers of the repository too, so they link to files as they lie there. The pages at
the top of the repository are pages of the site as well. A link to any other file becomes its plain name, or,
where ``repo_url`` is set, a link to the repository.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import Any

import mlir_lexer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]

# Files at the top of the repository, and the pages that they are.
TOP = {
    "README.md": "overview.md",
    "README.ko.md": "overview.ko.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "LICENSE": "license.md",
}
_FENCE = re.compile(r"^ *(```+|~~~+)")
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")
_CODE = re.compile(r"`[^`]+`")
# A comment of pages which the site replaces by the documentation of a Python name: "api" of what users call,
# "api result" of what they are given (without its constructor), "api members" of what is in a module.
_API = re.compile(r"^<!-- (api|api result|api members): ([\w.]+) -->$", re.M)
_API_OPTIONS = {
    "api": {},
    "api result": {"merge_init_into_class": "false"},
    "api members": {"show_root_heading": "false", "show_root_toc_entry": "false"},
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lists the pages of a folder where the navigation says ``folder/*``, and colours IR."""
    mlir_lexer.register()
    config.nav = _expanded(config.nav, Path(config.docs_dir))
    return config


def _expanded(entry: Any, docs: Path) -> Any:
    if isinstance(entry, list):
        return [inner for item in entry if (inner := _expanded(item, docs))]
    if isinstance(entry, dict):
        return {title: inner for title, item in entry.items() if (inner := _expanded(item, docs))}
    if entry.endswith("/*"):
        pages = sorted(
            (docs / entry[:-2]).glob("*.md"), key=lambda page: (page.name != "README.md", page.name)
        )
        return [page.relative_to(docs).as_posix() for page in pages]
    return entry


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages at the top of the repository."""
    for name, page in TOP.items():
        source = ROOT / name
        if source.suffix == ".md" and source.exists():
            files.append(File.generated(config, page, abs_src_path=str(source)))
        elif source.exists():
            text = f"# Licence of Lumen\n\n```text\n{source.read_text()}```\n"
            files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Turns links to files of the repository into links of the site."""
    source = _repository_path(page.file, config)
    lines, fence = [], ""
    for line in markdown.split("\n"):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and line.strip() == mark[1]:
            fence = ""
        lines.append(line if fence or mark else _linked(line, source, page.file.src_uri, config, files))
    return _API.sub(_documented, "\n".join(lines))


def _documented(match: re.Match[str]) -> str:
    kind, name = match.groups()
    lines = [f"::: {name}", "    options:"] + [
        f"      {key}: {value}" for key, value in _API_OPTIONS[kind].items()
    ]
    return "\n".join(lines if _API_OPTIONS[kind] else lines[:1])


def _repository_path(file: File, config: MkDocsConfig) -> str:
    """The path of a page's source in the repository."""
    names = [name for name, page in TOP.items() if page == file.src_uri]
    return names[0] if names else f"{Path(config.docs_dir).name}/{file.src_uri}"


def _linked(line: str, source: str, page: str, config: MkDocsConfig, files: Files) -> str:
    def replace(match: re.Match[str]) -> str:
        image, text, link, anchor = match.groups()
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        uri = _page_of(target, config)
        if files.get_file_from_path(uri) is not None:
            return f"{image}[{text}]({_relative(uri, page)}{anchor or ''})"
        if image or not (ROOT / target).exists():
            return match[0]  # for MkDocs to complain of
        if config.repo_url:
            return f"[{text}]({config.repo_url.rstrip('/')}/blob/main/{target}{anchor or ''})"
        return text

    line = _LINK.sub(replace, line)
    # In tables, GitHub wants a backslash before a bar in code. Here it would be shown.
    return _CODE.sub(lambda code: code[0].replace("\\|", "|"), line) if line.startswith("|") else line


def _page_of(target: str, config: MkDocsConfig) -> str:
    """The page or picture of the site that a path in the repository is, if it is one."""
    docs = Path(config.docs_dir)
    if (ROOT / target).is_dir() and (ROOT / target / "README.md").exists():
        target = f"{target}/README.md"
    if PurePosixPath(target).is_relative_to(docs.name):
        return PurePosixPath(target).relative_to(docs.name).as_posix()
    return TOP.get(target, f"../{target}")


def _relative(uri: str, page: str) -> str:
    return posixpath.relpath(uri, posixpath.dirname(page) or ".")
