"""A file with any one value replaced is read or refused with one line; nothing else happens."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from circuits_made import made_graph
from exchange_cases import foreign_file, made_groups, write_graph
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_signatures.runs.circuits.exchange.from_json import imported_circuit
from neuron_signatures.runs.circuits.tables import circuit_tables
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import json_text

_temporary = tempfile.TemporaryDirectory()
FOLDER = Path(_temporary.name)
OWN = json.loads(write_graph(FOLDER, made_graph(), made_groups(made_graph())).read_text())
FOREIGN = json.loads(foreign_file(FOLDER / "cat.json").read_text())


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


texts = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["E", "0", "3_9_4", "0_0_0", "[[[", "a,b", "\x1b", "\ud800", "²", "9" * 9, "(p=nan)", "(p=+-)"]),
)
numbers = st.one_of(st.integers(-3, 9), st.sampled_from([2**31, 2**62, -(2**62), 1e99, -1e-300, 0.5]))
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
@settings(max_examples=100)
def test_one_replaced_value(data):
    whole = data.draw(st.sampled_from([OWN, FOREIGN]))
    content = json.loads(json.dumps(whole))
    *path, last = data.draw(st.sampled_from(list(places(whole))))
    at = content
    for key in path:
        at = at[key]
    at[last] = data.draw(values)
    file = FOLDER / "x.json"
    file.write_text(json.dumps(content))
    try:
        circuit = imported_circuit(file)
    except UsageError as e:
        assert "x.json" in str(e) and str(e).isprintable()
        return
    # what was read can be stored
    json_text(circuit.facts).encode()
    json_text(circuit.settings).encode()
    circuit_tables(circuit.graph)
    json_text(circuit.groups.model_dump(mode="json")).encode()
