"""Every key of the browser, once: screens bind them, footer and help show them, docs/browse.md lists them."""

from __future__ import annotations

from typing import NamedTuple

from textual.binding import Binding, BindingType


class Key(NamedTuple):
    """`names` are Textual's, with commas; `action` may have arguments; `shown` is what is printed on the keyboard."""

    names: str
    action: str
    shown: str
    words: str
    short: str = ""
    """For the footer; empty: not there."""


COMMON = (
    Key("question_mark", "app.help", "?", "all keys", "help"),
    Key("q,ctrl+c", "app.quit", "q", "quit", "quit"),
    Key("escape,backspace", "back", "Esc", "back to the screen before", "back"),
    Key("r", "app.reload", "r", "read the run again from disk", "reload"),
    Key("ctrl+p,colon", "app.command_palette", ":", "command palette: every command by name", "menu"),
    Key("ctrl+z", "app.suspend", "Ctrl-Z", "back to the shell; its fg leads here again", ""),
)

ROWS = (
    Key("up", "row(-1)", "↑", "row up", ""),
    Key("down", "row(1)", "↓", "row down", ""),
    Key("pageup", "page(-1)", "PgUp", "page up", ""),
    Key("pagedown", "page(1)", "PgDn", "page down", ""),
    Key("home", "row(-1000000000)", "Home", "first row", ""),
    Key("end", "row(1000000000)", "End", "last row", ""),
    Key("enter", "choose", "Enter", "open the row", "open"),
)

BROWSER = (
    Key("left", "layer(-1)", "←", "layer before", ""),
    Key("right", "layer(1)", "→", "layer after", ""),
    Key("up", "token(-1)", "↑", "token before", ""),
    Key("down", "token(1)", "↓", "token after", ""),
    Key("b", "neuron(-1)", "b", "neuron before", ""),
    Key("n", "neuron(1)", "n", "neuron after", ""),
    Key("pageup", "neuron(-100)", "PgUp", "100 neurons back", ""),
    Key("pagedown", "neuron(100)", "PgDn", "100 neurons on", ""),
    Key("left_square_bracket", "prompt(-1)", "[", "prompt before", ""),
    Key("right_square_bracket", "prompt(1)", "]", "prompt after", ""),
    Key("home", "token(-1000000000)", "Home", "first token", ""),
    Key("end", "token(1000000000)", "End", "last token", ""),
    Key("m", "extreme('max')", "m", "token of the maximum", ""),
    Key("M", "extreme('min')", "M", "token of the minimum", ""),
    Key("g", "ask('neuron')", "g", "go to a neuron: 508, 17/5863, L17N5863 or MODEL/17/5863", "go"),
    Key("l", "ask('layer')", "l", "go to a layer", "layer"),
    Key("c", "ask('token')", "c", "go to a token; -1 is the last", "token"),
    Key("a", "all_tokens", "a", "all tokens, or a window around the cursor", "all"),
    Key("i", "bos", "i", "count the BOS in scale and statistics, or not", "BOS"),
    Key("w", "open('lists')", "w", "which neurons matter: the ranked lists", "ranked"),
    Key("full_stop", "walk(1)", ".", "next neuron of the list that was opened", ""),
    Key("comma", "walk(-1)", ",", "previous neuron of the list", ""),
    Key("enter,v", "open('stack')", "Enter", "this neuron on every prompt (v does the same)", "every prompt"),
    Key("t", "open('top')", "t", "top neurons at this token", "top"),
    Key("o", "open('layers')", "o", "overview of the layers on this prompt", "overview"),
    Key("e", "open('notes')", "e", "signature, write scores and explanations of this neuron", "notes"),
    Key("p", "open('prompts')", "p", "the prompts", "prompts"),
    Key("s,slash", "ask('search')", "s", "search the tokens of all prompts (/ does the same)", "search"),
    Key("f", "open('run')", "f", "facts about the run, and whether it is sound", "facts"),
)

LIST = (
    Key("s", "sort", "s", "sort by the next column", "sort"),
    Key("S", "reverse", "S", "turn the order round", "turn"),
    Key("slash", "ask('filter')", "/", "filter: L3, L3N14, >0.5, <=-1, or text; empty shows all", "filter"),
)

STACK = (Key("s", "sort", "s", "by largest |act|, or in the order of the run", "sort"),)

# Section of the help and of docs/browse.md; its keys.
SECTIONS: tuple[tuple[str, tuple[Key, ...]], ...] = (
    ("Browser", BROWSER),
    ("Every other screen", ROWS),
    ("Ranked list", LIST),
    ("One neuron on every prompt", STACK),
    ("Everywhere", COMMON),
)


def bindings(*groups: tuple[Key, ...]) -> list[BindingType]:
    """Textual's bindings, with names that `Key.names` lists; none is shown by Textual's own footer."""
    return [Binding(name, k.action, k.words, show=False) for g in groups for k in g for name in k.names.split(",")]


def footer(*groups: tuple[Key, ...]) -> list[tuple[str, str]]:
    """Keys and words for the bottom of a screen, in order."""
    return [(k.shown, k.short) for g in groups for k in g if k.short]


# By hand, the most needed first: at 80 columns two lines and what is free of the message line hold all but the last.
BROWSER_FOOTER = [
    ("←→", "layer"), ("↑↓", "token"), ("n b", "neuron"), ("[ ]", "prompt"), ("f", "facts"), ("w", "lists"),
    ("?", "help"), ("q", "quit"),
    ("g l c", "go"), ("p", "prompts"), ("v", "every prompt"), ("t", "top"), ("o", "layers"), ("e", "notes"),
    ("s", "search"), ("i", "BOS"),
    ("a", "all"), ("m M", "max, min"), (". ,", "list"), ("r", "reload"), (":", "menu"), ("Esc", "back"),
    ("PgDn PgUp", "±100"),
]  # fmt: skip
TEXT_FOOTER = [("↑↓ PgDn PgUp", "scroll"), *footer(COMMON)]
