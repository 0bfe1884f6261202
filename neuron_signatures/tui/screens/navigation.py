"""Which screens are opened for a run and reopened after a reload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textual.screen import Screen

from neuron_signatures.tui.corpus.neurons import Wanted
from neuron_signatures.tui.options import LIST_SCREENS, Options
from neuron_signatures.tui.run.opening import OpenResult, check_screen
from neuron_signatures.tui.screens.browser import BrowserPage
from neuron_signatures.tui.screens.browser_child import BrowserChild
from neuron_signatures.tui.screens.corpus import CorpusPage
from neuron_signatures.tui.screens.lists import ListPage, ListsPage
from neuron_signatures.tui.screens.neurons import NeuronsPage
from neuron_signatures.tui.screens.page import Page
from neuron_signatures.tui.screens.tables import LayersPage, PromptsPage, SearchPage, StackPage, TopPage
from neuron_signatures.tui.screens.texts import FactsPage, HelpPage, NotesPage
from neuron_signatures.tui.tables.ranked_list import Order, choose_list


def pages_of(result: OpenResult, options: Options) -> list[Page]:
    """The first screens of a run, the last on top. Raises `UsageError` for a list that does not exist."""
    if result.opened is None:
        return [FactsPage(result)]
    if not result.opened.run.prompts:
        return _without_prompts(result, options)
    browser = BrowserPage(result, options, page_named)
    if options.screen == "neurons":
        corpus = CorpusPage(result, browser)
        return [browser, corpus, *neurons_of(corpus, options)]
    on_top = page_named(browser, options)
    return [browser] if on_top is None else [browser, on_top]


def reopened(stack: Sequence[Screen[Any]], pages: list[Page]) -> list[Page]:
    """`pages`, plus the screens of `stack` that were open over the browser before the reload."""
    before = next((s for s in stack if isinstance(s, BrowserPage)), None)
    browser = pages[0]
    corpus = next((s for s in stack if isinstance(s, CorpusPage)), None)
    if isinstance(browser, CorpusPage) and corpus is not None:
        browser.keep(corpus)
        return [browser, *(s.over(browser) for s in stack if isinstance(s, NeuronsPage))]
    if before is None or not isinstance(browser, BrowserPage):
        return pages
    browser.keep_walk(before)
    new: list[Page] = [browser]
    for page in stack[stack.index(before) + 1 :]:
        again = _reopen(page, browser, new[-1])
        if again is None:
            break
        new.append(again)
    return new


def _reopen(page: Screen[Any], browser: BrowserPage, under: Page) -> Page | None:
    """The same screen over the browser of a reloaded run, and over the page `under`; None if it no longer exists."""
    if isinstance(page, NeuronsPage):
        return page.over(under) if isinstance(under, CorpusPage) else None
    if isinstance(page, FactsPage):
        return FactsPage(browser.result)
    if isinstance(page, HelpPage):
        return HelpPage(page.first)
    return page.reopen(browser) if isinstance(page, BrowserChild | CorpusPage) else None


def _without_prompts(result: OpenResult, options: Options) -> list[Page]:
    """The screens of a run that holds records and no prompts."""
    check_screen(options)
    corpus = CorpusPage(result)
    on_top: list[Page] = [FactsPage(result)] if options.screen == "run" else []
    return [corpus, *(neurons_of(corpus, options) if options.screen == "neurons" else on_top)]


def neurons_of(corpus: CorpusPage, options: Options) -> list[Page]:
    """The list of neurons that the flags select."""
    return [NeuronsPage(corpus, Wanted(query=(options.query or "").strip()))]


def page_named(browser: BrowserPage, options: Options) -> Page | None:
    """The screen over the browser that `options.screen` names; None for the browser."""
    name = options.screen or "browser"
    if name in LIST_SCREENS:
        ref = choose_list(browser.opened, name, options.list_name)
        return ListPage(browser, ref, Order(query=(options.query or "").strip()))
    if name == "search":
        return SearchPage(browser, options.query or "") if options.query else None
    if name == "run":
        return FactsPage(browser.result)
    if name == "corpus":
        return CorpusPage(browser.result, browser)
    if name == "interventions":
        # their records take 0.02 s to import: not at the start
        from neuron_signatures.tui.screens.interventions import InterventionsPage, result_page

        return result_page(browser, options.list_name) if options.list_name else InterventionsPage(browser)
    if name == "lists":
        return ListsPage(browser, stem=browser.walk.view.ranked.ref.stem if browser.walk else "")
    simple = {"prompts": PromptsPage, "layers": LayersPage, "stack": StackPage, "top": TopPage, "notes": NotesPage}
    return simple[name](browser) if name in simple else None
