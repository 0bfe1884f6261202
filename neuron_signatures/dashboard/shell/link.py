"""The page's address to copy."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit, urlunsplit

import streamlit as st

from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.shell.state import address


def copy_link(ctx: PageContext) -> None:
    """A button that shows the address of this view; the block has Streamlit's button for copying."""
    with st.popover("Link", help="The address of what this page shows."):
        st.code(link(st.context.url or "", address(ctx.selection, ctx.run)), language=None, wrap_lines=True)


def link(page: str, parts: dict[str, str]) -> str:
    """The address of a page with these parts as its query; other text of the page's own address is left out."""
    at = urlsplit(page)
    return urlunsplit((at.scheme, at.netloc, at.path, urlencode(parts, safe=","), ""))
