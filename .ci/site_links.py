"""A hook of the site: links of the docs to other files of the repository are plain words in it."""

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?:examples|src|tests|README|CHANGELOG|CITATION|SECURITY)[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the page without those links, which lead nowhere in the site."""
    return _OUTSIDE.sub(r"\1", markdown)
