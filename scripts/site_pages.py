"""How pages of the repository become pages of the site: a hook of MkDocs, which mkdocs.yml names.

Links stay as GitHub needs them. Here one to a page of docs/ becomes one to a page of the site, any other one to the
file on GitHub, and one to a file that does not exist is left for MkDocs to refuse.
"""

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

ROOT = Path(__file__).resolve().parent.parent
DOCS, README = ROOT / "docs", ROOT / "README.md"
HOME = "index.md"
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Anchors of headings as GitHub makes them."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """README.md is the home page, read where it stands."""
    files.append(File.generated(config, HOME, abs_src_path=str(README)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Every link to a file leads to where that file is to be seen."""
    source = README if page.file.src_uri == HOME else DOCS / page.file.src_uri
    beside = DOCS / Path(page.file.src_uri).parent

    def moved(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(source.parent / link[1]))
        if not target.exists():
            return link[1]
        inside = HOME if target == README else _in_docs(target)
        found = files.get_file_from_path(inside)
        if found and not found.inclusion.is_excluded():
            return Path(os.path.relpath(DOCS / inside, beside)).as_posix()
        kind = "tree" if target.is_dir() else "blob"
        return f"{config.extra['repository']}/{kind}/main/{target.relative_to(ROOT).as_posix()}"

    return LINK.sub(moved, markdown)


def _in_docs(target: Path) -> str:
    return target.relative_to(DOCS).as_posix() if target.is_relative_to(DOCS) else ""
