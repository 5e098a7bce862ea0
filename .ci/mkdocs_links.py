"""The site's overview is README; links out of docs/ become their text, for there is no repository behind a site."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r'(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)\s]+)\)')


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by mkdocs with the text of each page."""
    if page.file.src_uri == 'index.md':
        markdown = (ROOT / 'README.md').read_text(encoding='utf-8').replace('](docs/', '](')
    folder = Path(page.file.abs_src_path).parent
    return _LINK.sub(lambda link: link[0] if _is_in_site(folder / link[2].partition('#')[0]) else link[1], markdown)


def _is_in_site(target: Path) -> bool:
    return target.resolve().is_relative_to(ROOT / 'docs') and target.is_file()
