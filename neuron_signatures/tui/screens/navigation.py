"""Which screens are opened for a run and reopened after a reload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textual.screen import Screen

from neuron_signatures.tui.options import LIST_SCREENS, Options
from neuron_signatures.tui.run.opening import OpenResult, check_screen
from neuron_signatures.tui.screens.browser import BrowserPage
from neuron_signatures.tui.screens.lists import ListPage, ListsPage
from neuron_signatures.tui.screens.page import Page
from neuron_signatures.tui.screens.tables import LayersPage, PromptsPage, StackPage, TopPage
from neuron_signatures.tui.screens.texts import FactsPage, NotesPage
from neuron_signatures.tui.tables.ranked_list import Order, choose_list


def pages_of(result: OpenResult, options: Options) -> list[Page]:
    """The first screens of a run, the last on top. Raises `UsageError` for a list that does not exist."""
    if result.opened is None:
        return [FactsPage(result)]
    if not result.opened.run.prompts:
        return _without_prompts(result, options)
    browser = BrowserPage(result, options, page_named)
    if options.screen == "neurons":
        return [browser, *_corpus_pages(result, browser, options)]
    on_top = page_named(browser, options)
    return [browser] if on_top is None else [browser, on_top]


def reopened(stack: Sequence[Screen[Any]], result: OpenResult, pages: list[Page]) -> list[Page]:
    """`pages`, plus the screens of `stack` that were open over the first one before the reload."""
    first = pages[0]
    before = next((s for s in stack if type(s) is type(first)), None)
    if before is None or not first.keep(before):
        return pages
    new = [first]
    for page in stack[stack.index(before) + 1 :]:
        again = page.reopen(result, first, new[-1]) if isinstance(page, Page) else None
        if again is None:
            break
        new.append(again)
    return new


def _without_prompts(result: OpenResult, options: Options) -> list[Page]:
    """The screens of a run that holds records and no prompts."""
    check_screen(options)
    pages = _corpus_pages(result, None, options)
    if options.screen == "run":
        pages.append(FactsPage(result))
    elif options.screen in ("explanation", "simulated", "explanations"):
        pages.append(_explanation_page(pages[0], options))
    elif options.screen == "at_large":
        pages.append(_at_large_page(pages[0]))
    elif options.screen == "search":
        pages.append(_search_page(pages[0], options))
    return pages


def _at_large_page(opener: Any) -> Page:
    from neuron_signatures.tui.screens.at_large import AtLargePage  # its records take time to import

    return AtLargePage(opener)


def _search_page(opener: Any, options: Options) -> Page:
    from neuron_signatures.tui.screens.search import SearchPage  # takes time to import

    return SearchPage(opener, options.query or "", options.by)


def _corpus_pages(result: OpenResult, browser: BrowserPage | None, options: Options) -> list[Page]:
    """The corpus screen, and over it the list of neurons if the flags name it."""
    # their records take 0.03 s to import: not at the start
    from neuron_signatures.tui.corpus.neurons import Wanted
    from neuron_signatures.tui.screens.corpus import CorpusPage
    from neuron_signatures.tui.screens.neurons import NeuronsPage

    corpus = CorpusPage(result, browser)
    if options.screen != "neurons":
        return [corpus]
    return [corpus, NeuronsPage(corpus, Wanted(query=(options.query or "").strip()))]


def _explanation_page(opener: Any, options: Options) -> Page:
    """Explanations of a neuron, what was predicted from one, or the list of all; over the first screen."""
    # their records take time to import: not at the start
    if options.screen == "explanation":
        from neuron_signatures.tui.screens.explanation import ExplanationPage

        return ExplanationPage(opener)
    if options.screen == "simulated":
        from neuron_signatures.tui.screens.simulated import SimulatedPage

        return SimulatedPage(opener, name=options.list_name or "")
    from neuron_signatures.tui.explanations.listing import Order as ExplanationOrder
    from neuron_signatures.tui.screens.explanations import ExplanationsPage

    return ExplanationsPage(opener, ExplanationOrder(query=(options.query or "").strip()))


def page_named(browser: BrowserPage, options: Options) -> Page | None:
    """The screen over the browser that `options.screen` names; None for the browser."""
    name = options.screen or "browser"
    if name in LIST_SCREENS:
        ref = choose_list(browser.opened, name, options.list_name)
        return ListPage(browser, ref, Order(query=(options.query or "").strip()))
    if name == "search":
        return _search_page(browser, options) if options.query else None
    if name == "run":
        return FactsPage(browser.result)
    if name == "corpus":
        return _corpus_pages(browser.result, browser, options)[0]
    if name in ("explanation", "simulated", "explanations"):
        return _explanation_page(browser, options)
    if name == "at_large":
        return _at_large_page(browser)
    if name == "interventions":
        # their records take 0.02 s to import: not at the start
        from neuron_signatures.tui.screens.interventions import InterventionsPage, result_page

        return result_page(browser, options.list_name) if options.list_name else InterventionsPage(browser)
    if name == "circuit":
        from neuron_signatures.tui.circuit.list_page import circuit_page  # as the interventions

        return circuit_page(browser, options.list_name, (options.query or "").strip())
    if name == "lists":
        return ListsPage(browser, stem=browser.walk.view.ranked.ref.stem if browser.walk else "")
    simple = {"prompts": PromptsPage, "layers": LayersPage, "stack": StackPage, "top": TopPage, "notes": NotesPage}
    return simple[name](browser) if name in simple else None
