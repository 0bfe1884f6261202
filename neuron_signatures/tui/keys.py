"""All keys of the browser: screens bind them, footer and help show them, docs/browse.md lists them."""

from __future__ import annotations

from typing import NamedTuple

from textual.binding import Binding, BindingType


class Key(NamedTuple):
    """A key binding: Textual's names of the keys (comma-separated), the action, and the label of the key."""

    names: str
    action: str
    shown: str
    words: str
    short: str = ""
    """Label in the footer; empty: not shown there."""


COMMON = (
    Key("question_mark", "app.help", "?", "all keys", "help"),
    Key("q,ctrl+c", "app.quit", "q", "quit", "quit"),
    Key("escape,backspace", "back", "Esc", "previous screen", "back"),
    Key("y", "copy", "y", "copy the neuron and what it writes, or the row, to the clipboard (OSC 52)", "copy"),
    Key("e", "export", "e", "export the screen as text and JSON into the current folder", "export"),
    Key("r", "app.reload", "r", "reload from disk", "reload"),
    Key("ctrl+p,colon", "app.command_palette", ":", "command palette: find a command by name", "menu"),
    Key("ctrl+z", "app.suspend", "Ctrl-Z", "suspend; fg in the shell resumes", ""),
)

ROWS = (
    Key("up", "row(-1)", "↑", "row up", ""),
    Key("down", "row(1)", "↓", "row down", ""),
    Key("pageup", "page(-1)", "PgUp", "page up", ""),
    Key("pagedown", "page(1)", "PgDn", "page down", ""),
    Key("home", "row(-1000000000)", "Home", "first row", ""),
    Key("end", "row(1000000000)", "End", "last row", ""),
    Key("enter", "choose", "Enter", "open the row", "open"),
    Key("d", "details", "d", "the whole heading, or its first lines", "details"),
)

BROWSER = (
    Key("left", "move('layer', -1)", "←", "previous layer", ""),
    Key("right", "move('layer', 1)", "→", "next layer", ""),
    Key("up", "move('token', -1)", "↑", "previous token", ""),
    Key("down", "move('token', 1)", "↓", "next token", ""),
    Key("b", "move('neuron', -1)", "b", "previous neuron", ""),
    Key("n", "move('neuron', 1)", "n", "next neuron", ""),
    Key("pageup", "move('neuron', -100)", "PgUp", "100 neurons back", ""),
    Key("pagedown", "move('neuron', 100)", "PgDn", "100 neurons forward", ""),
    Key("left_square_bracket", "move('prompt', -1)", "[", "previous prompt", ""),
    Key("right_square_bracket", "move('prompt', 1)", "]", "next prompt", ""),
    Key("home", "move('token', -1000000000)", "Home", "first token", ""),
    Key("end", "move('token', 1000000000)", "End", "last token", ""),
    Key("m", "extreme('max')", "m", "token with the maximum", ""),
    Key("M", "extreme('min')", "M", "token with the minimum", ""),
    Key("g", "ask('neuron')", "g", "go to a neuron: 508, 17/5863, L17N5863 or MODEL/17/5863", "go"),
    Key("l", "ask('layer')", "l", "go to a layer", "layer"),
    Key("c", "ask('token')", "c", "go to a token; -1 is the last", "token"),
    Key("a", "all_tokens", "a", "show all tokens, or a window around the cursor", "all"),
    Key("z", "relative", "z", "activations relative to the neuron's mean and spread over the run, or raw", "relative"),
    Key("S", "scale", "S", "scale of bars and colours: over the run, of this prompt, or over the corpus", "scale"),
    Key("i", "bos", "i", "include or exclude the first position (BOS)", "BOS"),
    Key("w", "open('lists')", "w", "ranked lists: which neurons matter", "ranked"),
    Key("x", "open('interventions')", "x", "interventions: what edits of neurons change", "interventions"),
    Key("G", "open('circuit')", "G", "circuits: the graph of neurons that makes one prediction", "circuit"),
    Key("C", "open('corpus')", "C", "this neuron in a corpus: strongest windows, histogram, tokens", "corpus"),
    Key(
        "E",
        "open('explanation')",
        "E",
        "explanations of this neuron: both poles, how they were made, edits",
        "explained",
    ),
    Key("W", "open('explanations')", "W", "list of all explanations: search and filters", "all explanations"),
    Key("N", "open('at_large')", "N", "this neuron at large: weights, meanings, clusters, neurons like it", "at large"),
    Key("full_stop", "walk(1)", ".", "next neuron of the open list", ""),
    Key("comma", "walk(-1)", ",", "previous neuron of the open list", ""),
    Key("enter,v", "open('stack')", "Enter", "this neuron on every prompt (also v)", "every prompt"),
    Key("t", "open('top')", "t", "top neurons at this token", "top"),
    Key("o", "open('layers')", "o", "overview of the layers on this prompt", "overview"),
    Key("d", "open('notes')", "d", "details of this neuron: writes, prompts, signature, statistics", "details"),
    Key("p", "open('prompts')", "p", "list of prompts", "prompts"),
    Key(
        "s,slash",
        "search",
        "s",
        "search (also /): tokens in prompts, explanations and exemplars, who writes a token; Tab chooses",
        "search",
    ),
    Key("f", "open('run')", "f", "facts about the run and its health", "facts"),
)

LIST = (
    Key("s", "sort", "s", "sort by the next column", "sort"),
    Key("S", "reverse", "S", "reverse the order", "flip"),
    Key(
        "slash",
        "ask('filter')",
        "/",
        "filter: Texas, promotes:·Austin, suppresses:, fires:, often:, class:, L3, L3N14, >0.5; empty shows all",
        "filter",
    ),
)

STACK = (Key("s", "sort", "s", "sort by largest |act|, or in run order", "sort"),)

RESULT = (
    Key("right_square_bracket", "section(1)", "]", "next table", "next table"),
    Key("left_square_bracket", "section(-1)", "[", "previous table", ""),
)

CIRCUIT = (
    Key("enter", "choose", "Enter", "open or close the node; show the weaker edges", "open"),
    Key("right", "fold(1)", "→", "open the node, or go to its first line", ""),
    Key("left", "fold(-1)", "←", "close the node, or go to the node above", ""),
    Key("g", "neuron", "g", "go to the neuron, or the token, in the browser", "neuron"),
    Key("o", "outgoing", "o", "outgoing edges of the node", "outgoing"),
    Key(
        "slash",
        "ask('filter')",
        "/",
        "filter nodes: Texas, promotes:·Austin, L3, L3N14-, #4, >0.5; Enter shows a node in the tree",
        "filter",
    ),
    Key("tab", "grid", "Tab", "the grid of layers and positions alone, or the tree", "grid"),
    Key("right_square_bracket", "circuit(1)", "]", "next circuit", ""),
    Key("left_square_bracket", "circuit(-1)", "[", "previous circuit", ""),
)

CORPUS = (
    Key("plus,equals_sign", "pole('+')", "+", "the largest activations", ""),
    Key("minus", "pole('-')", "-", "the smallest activations", ""),
    Key("right_square_bracket,tab", "section(1)", "]", "next section (also Tab)", ""),
    Key("left_square_bracket,shift+tab", "section(-1)", "[", "previous section", ""),
    Key("up", "row(-1)", "↑", "previous window", ""),
    Key("down", "row(1)", "↓", "next window", ""),
    Key("home", "row(-1000000000)", "Home", "first window", ""),
    Key("end", "row(1000000000)", "End", "last window", ""),
    Key("enter", "choose", "Enter", "the whole window, or the text around the peak", "whole window"),
    Key("a", "all", "a", "all windows whole, or short", "all whole"),
    Key("p", "part", "p", "documents of all parts, or of one: explain, select, report", "part"),
    Key("z", "relative", "z", "activations relative to mean and spread over the corpus, or raw", "relative"),
    Key("left", "move('layer', -1)", "←", "previous layer", ""),
    Key("right", "move('layer', 1)", "→", "next layer", ""),
    Key("b", "move('neuron', -1)", "b", "previous neuron", ""),
    Key("n", "move('neuron', 1)", "n", "next neuron", ""),
    Key("pageup", "move('neuron', -100)", "PgUp", "100 neurons back", ""),
    Key("pagedown", "move('neuron', 100)", "PgDn", "100 neurons forward", ""),
    Key("full_stop", "walk(1)", ".", "next neuron of the open list", ""),
    Key("comma", "walk(-1)", ",", "previous neuron of the open list", ""),
    Key("g", "ask('neuron')", "g", "go to a neuron: 508, 17/5863, L17N5863 or MODEL/17/5863", "go"),
    Key("l", "ask('layer')", "l", "go to a layer", "layer"),
    Key("w", "neurons", "w", "list of the neurons of the corpus: by kurtosis, largest activation, rate, mean", "list"),
    Key("E", "explanation", "E", "explanations of this neuron: both poles, how they were made, edits", "explained"),
    Key("W", "explanations", "W", "list of all explanations: search and filters", "all explanations"),
    Key("N", "at_large", "N", "this neuron at large: weights, meanings, clusters, neurons like it", "at large"),
    Key("s,slash", "search", "s", "search (also /): explanations and exemplars, who writes a token; Tab chooses", ""),
    Key("f", "facts", "f", "facts about the run and its health", "facts"),
)

NEURONS = (
    Key("s", "sort", "s", "sort by kurtosis, largest |activation|, rate or |mean|", "sort"),
    Key("slash", "ask('filter')", "/", "filter: Texas, often:·Austin, L3, >0.5; empty shows all", "filter"),
)

EXPLANATION = (
    Key("right_square_bracket", "section(1)", "]", "next explanation", "next"),
    Key("left_square_bracket", "section(-1)", "[", "previous explanation", ""),
    Key("a", "all", "a", "everything about all explanations, or their first lines", "all whole"),
    Key("s", "simulated", "s", "true and simulated activations, token by token", "simulated"),
    Key("full_stop", "walk(1)", ".", "next explained neuron, of the open list of explanations", ""),
    Key("comma", "walk(-1)", ",", "previous explained neuron", ""),
    Key("b", "move('neuron', -1)", "b", "previous neuron", ""),
    Key("n", "move('neuron', 1)", "n", "next neuron", ""),
    Key("left", "move('layer', -1)", "←", "previous layer", ""),
    Key("right", "move('layer', 1)", "→", "next layer", ""),
    Key("g", "ask('neuron')", "g", "go to a neuron: 508, 17/5863, L17N5863 or MODEL/17/5863", "go"),
    Key("W", "explanations", "W", "list of all explanations: search and filters", "all explanations"),
)

SIMULATED = (
    Key("right_square_bracket,tab", "section(1)", "]", "next window (also Tab)", "next window"),
    Key("left_square_bracket,shift+tab", "section(-1)", "[", "previous window", ""),
    Key("enter", "choose", "Enter", "the whole window, or its peaks and mistakes", "whole window"),
    Key("a", "all", "a", "all windows whole, or short", "all whole"),
    Key("s", "scorer", "s", "next scorer that predicts activations from this explanation", "scorer"),
)

EXPLANATIONS = (
    Key("s", "sort", "s", "sort by neuron, score, votes, time, set, status or text", "sort"),
    Key("S", "reverse", "S", "reverse the order", "flip"),
    Key(
        "slash",
        "ask('filter')",
        "/",
        'filter: words, "a phrase", set:, status:, explainer:, author:, is:locked, L3, L3N14-, >0.5; empty shows all',
        "filter",
    ),
)

SEARCH = (
    Key(
        "tab,right_square_bracket",
        "way(1)",
        "Tab",
        "the same text in: prompts, words of texts, who promotes it, who suppresses it, meaning of texts (also ])",
        "search in",
    ),
    Key("shift+tab,left_square_bracket", "way(-1)", "[", "the previous one of these", ""),
    Key("slash,s", "ask('search')", "/", "search for another text (also s)", "text"),
)

# Sections of the help and of docs/browse.md, with their keys.
SECTIONS: tuple[tuple[str, tuple[Key, ...]], ...] = (
    ("Browser", BROWSER),
    ("Every other screen", ROWS),
    ("Ranked list", LIST),
    ("One neuron on every prompt", STACK),
    ("One neuron in a corpus", CORPUS),
    ("Neurons of a corpus", NEURONS),
    ("One intervention", RESULT),
    ("One circuit", CIRCUIT),
    ("Explanations of a neuron", EXPLANATION),
    ("True and simulated activations", SIMULATED),
    ("All explanations", EXPLANATIONS),
    ("Search", SEARCH),
    ("Everywhere", COMMON),
)


def bindings(*groups: tuple[Key, ...]) -> list[BindingType]:
    """Textual bindings, one for each name in `Key.names`; hidden, because the footer is our own."""
    return [Binding(name, k.action, k.words, show=False) for g in groups for k in g for name in k.names.split(",")]


def footer(*groups: tuple[Key, ...]) -> list[tuple[str, str]]:
    """Keys and labels for the footer, in order."""
    return [(k.shown, k.short) for g in groups for k in g if k.short]


# In order of importance: what does not fit is in the help.
BROWSER_FOOTER = [
    ("←→", "layer"), ("↑↓", "token"), ("n b", "neuron"), ("[ ]", "prompt"), (". ,", "next in list"), ("w", "lists"),
    ("d", "details"), ("v", "every prompt"), ("g", "go"), ("q", "quit"), ("C", "corpus"), ("E", "explained"),
    ("W", "explanations"), ("N", "at large"), ("x", "interventions"), ("G", "circuit"), ("p", "prompts"),
    ("s", "search"), ("t", "top"), ("o", "layers"), ("z", "relative"), ("S", "scale"), ("y", "copy"), ("e", "export"),
    ("f", "facts"), ("i", "BOS"), ("a", "all"), ("m M", "max, min"), ("l c", "go"), ("r", "reload"), (":", "menu"),
    ("Esc", "back"), ("PgDn PgUp", "±100"),
]  # fmt: skip
CIRCUIT_FOOTER = [
    ("Enter", "open"), ("←→", "close, open"), ("g", "neuron"), ("o", "outgoing"), ("/", "filter"), ("Tab", "grid"),
    ("Esc", "back"), ("q", "quit"), ("] [", "circuit"), ("d", "details"), ("y", "copy"), ("e", "export"),
    ("r", "reload"), (":", "menu"),
]  # fmt: skip
CORPUS_FOOTER = [
    ("n b", "neuron"), ("←→", "layer"), ("+ -", "pole"), ("[ ]", "section"), ("↑↓", "window"), ("Enter", "whole"),
    ("Esc", "back"), ("q", "quit"), ("w", "list"), (". ,", "next in list"), ("E", "explained"),
    ("W", "explanations"), ("g", "go"), ("s", "search"), ("p", "part"), ("N", "at large"),
    ("a", "all whole"), ("z", "relative"), ("y", "copy"), ("e", "export"), ("f", "facts"), ("r", "reload"),
    (":", "menu"), ("PgDn PgUp", "±100"), ("l", "go"),
]  # fmt: skip
EXPLANATION_FOOTER = [
    (". ,", "next explained"), ("] [", "explanation"), ("Enter", "all about it"), ("s", "simulated"), ("n b", "neuron"),
    ("←→", "layer"),
    ("Esc", "back"), ("q", "quit"), ("W", "list"), ("a", "all"), ("g", "go"), ("y", "copy"), ("e", "export"),
    ("r", "reload"), (":", "menu"),
]  # fmt: skip
SIMULATED_FOOTER = [
    ("] [", "window"), ("↑↓", "token"), ("Enter", "whole"), ("a", "all whole"), ("s", "scorer"), ("Esc", "back"),
    ("q", "quit"), ("d", "details"), ("y", "copy"), ("e", "export"), ("r", "reload"), (":", "menu"),
]  # fmt: skip
TEXT_FOOTER = [("↑↓ PgDn PgUp", "scroll"), *footer(COMMON)]
