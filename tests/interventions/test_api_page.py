"""The example of docs/api.md, as it stands there."""

from __future__ import annotations

import json
import re

import torch
from intervention_cases import session
from paths import ROOT

from neuron_signatures.interventions.edits import Edit

PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def test_the_example_runs_and_its_edits_count(capsys):
    """The logits are those of the same edits in a session."""
    example, record = BLOCKS
    names: dict = {}
    exec(example, names)
    token_ids, edits = names["token_ids"][0].tolist(), names["edits"]
    own = session("demo")
    torch.testing.assert_close(names["logits"][0], own.logits(token_ids, edits), atol=1e-3, rtol=1e-3)
    assert not torch.allclose(names["logits"][0, -1], own.logits(token_ids)[-1], atol=0.1)
    new = names["new"][0, len(token_ids) :].tolist()
    assert new == own.generate(token_ids, edits, max_new_tokens=5)[: len(new)] and new
    assert str(int(names["logits"][0, -1].argmax())) in capsys.readouterr().out
    exec(record, names)
    pair = json.loads('{"edits": [{"layer": 3, "neuron": 383, "pos": 8, "value": 2.5}]}')
    assert names["edits_of"](pair) == [Edit(3, (383,), (8,), "set", 2.5)]


def test_every_kind_is_documented():
    for kind in ("set", "ablate", "patch", "add", "flip", "scale", "direction"):
        assert f"`{kind}`" in PAGE
