"""Which tokens stand for a class, on hand-made texts."""

from __future__ import annotations

import pandas as pd
from attribution_cases import loaded

from neuron_signatures.skills.steer.texts import Encoding, class_tokens


def test_tokens_of_a_class_are_those_that_its_texts_of_find_hold_and_others_do_not() -> None:
    rows = [
        ("a", "find", "The capital of Texas is"), ("a", "find", "The capital of Texas is Austin"),
        ("b", "find", "The sum of 2 and 3"), ("b", "find", "The sum of 3"), ("b", "held_out", "Texas Texas Texas"),
    ]  # fmt: skip
    texts = pd.DataFrame(rows, columns=["class", "half", "content"])
    encoding = Encoding(loaded("demo"), True, 64)
    of_a, of_b = class_tokens(texts, encoding)
    decode = encoding.model.tokenizer.decode
    assert {" capital", " Texas", " is"} <= {decode([t]) for t in of_a[:3]}
    assert " sum" in {decode([t]) for t in of_b}
    assert decode([of_a[-1]]) == " Austin"  # in one text of two
    assert not {" of", "The"} & {decode([t]) for t in (*of_a, *of_b)}  # in every text
