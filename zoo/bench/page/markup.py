"""HTML from Python: text is escaped unless it is markup already, so that names of files and words of cards stay text.

    tag("td", name, class_="best", data_v=0.5)     # <td class="best" data-v="0.5">a &lt;b&gt;</td>
    document("Title", body)                        # the whole page, with its style, its script, and a policy that allows no other
"""

import base64
import functools
import hashlib
from collections.abc import Iterable
from html import escape
from importlib import resources

#: Elements without an end tag.
_EMPTY = frozenset({"img", "input", "meta", "br"})
_ASSETS = ("page.css", "page.js")


class Html(str):
    """Markup: stands in a page as it is."""

    __slots__ = ()


def tag(name: str, /, *children: str | Html, **attributes: str | float | bool | None) -> Html:
    """An element.

    Args:
        name: of the element.
        children: text, which is escaped, or `Html`.
        attributes: `class_` becomes `class`, `data_v` becomes `data-v`; True: without a value; None and False: left out.
    """
    words = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is not None and value is not False:
            words.append(key if value is True else f'{key}="{escape(str(value))}"')
    head = f"<{' '.join(words)}>"
    return Html(head if name in _EMPTY else f"{head}{join(children)}</{name}>")


def join(parts: Iterable[str | Html], between: str = "") -> Html:
    """Parts one after the other, text escaped."""
    return Html(between.join(part if isinstance(part, Html) else escape(part) for part in parts))


@functools.cache
def _asset(name: str) -> str:
    return resources.files(__spec__.parent).joinpath(name).read_text(encoding="utf-8")


def document(title: str, body: Html) -> str:
    """A page that needs no network: style and script stand in it, and its policy allows these two and its own media, nothing else."""
    style, script = (_asset(name) for name in _ASSETS)
    media = "default-src 'none'; img-src 'self' file: data:; media-src 'self' file:"
    policy = f"{media}; style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    head = join([
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("title", title),
        Html(f"<style>{style}</style>"),
    ])  # fmt: skip
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n<script>{script}</script>\n</body>\n</html>\n'


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
