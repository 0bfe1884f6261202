"""Random requests to the server: from the schema of every path, with wrong parts, wrong headers and damaged bodies.

A request is reproduced by its number and the seed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote

METHODS = ("GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "X" * 50)
TEXTS = ("", " ", "The capital of Texas is", "a" * 300, "\x00", "\u202e", "\ud800", "é🎉", "<pad>", "\x1b[31m", "%s%n",
         "../../etc/passwd", "' OR 1=1 --", "{{7*7}}", "${jndi:x}", "demo\n", "NaN", "null", "L3N508", " Austin",
         "run:../..", "zero", "x" * 3000)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 3, 4, 7, 511, 512, 2840, 2841, -0.0, 0.5, 1e-300, 1e300, 2**31, 2**31 - 1, 2**53 + 1, -(2**63),
           2**64, 10**18, 8192, 100_000)  # fmt: skip
ODD = (None, True, False, [], {}, [[]], [None], {"": None}, "", *TEXTS[:6], *NUMBERS[:8])
PIECES = ("..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%00", "%", "%zz", "%ff%fe", "a" * 3000, "v1", "health", "runs",
          "demo", "neurons", "0", "-1", "508", "1e9", "9" * 30, "openapi.json", "", ".", "~", "\\", "%5c", ";",
         "models", "tokens", "explanations", "search", "activations", "tensor", "%c3%28", "%F0%9F%8E%89")  # fmt: skip
HEADER_VALUES = (b"", b"\x00", b"\xff\xfe", b"a" * 5000, b"gzip", b"chunked", b"text/plain", b"-1", b"bytes=0-",
                 b"application/json; charset=utf-16", b"websocket", b"null", b"http://localhost", b"1e9")  # fmt: skip
HEADER_NAMES = (b"content-type", b"content-length", b"origin", b"host", b"authorization", b"accept", b"accept-encoding",
                b"content-encoding", b"transfer-encoding", b"range", b"expect", b"upgrade", b"connection", b"cookie",
                b"sec-fetch-site", b"x-forwarded-for", b"x-http-method-override", b"if-none-match")  # fmt: skip
RAW_BODIES = (b"", b"{", b"[" * 5000, b'{"a":' * 3000, b"NaN", b"[1e999]", b"\xff\xfe", b"\x00" * 100, b'"\\ud800"',
              b"[" + b"9" * 5000 + b"]", b'{"text": "a", "text": "b"}', b"{}" * 3, b"null", b"true", b"[]", b'"x"',
              b'{"text": "\\u0000"}', b" " * 70_000)  # fmt: skip


class Sent(NamedTuple):
    """A request. `target` is the path with the query as in the first line of HTTP."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Requests:
    """Random requests to an app with this OpenAPI schema. `heavy` lists fields whose large values take long."""

    def __init__(self, openapi: dict[str, Any], seed: int) -> None:
        self._schemas: dict[str, Any] = openapi["components"]["schemas"]
        self._seed = seed
        self._routes = [
            (method.upper(), path, operation)
            for path, operations in openapi["paths"].items()
            for method, operation in operations.items()
        ]

    def request(self, number: int) -> Sent:
        rng = random.Random(f"{self._seed}:{number}")
        method, path, operation = rng.choice(self._routes)
        wrong = rng.choice((0.0, 0.02, 0.1, 0.3))
        target = self._target(rng, path, operation, wrong)
        body = self._body(rng, operation, wrong)
        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        damage = rng.random()
        if damage < 0.08:
            method = rng.choice(METHODS)
        elif damage < 0.16:
            target = "/" + "/".join(rng.choice(PIECES) for _ in range(rng.randint(0, 7)))
        elif damage < 0.26:
            headers = _damaged_headers(rng, headers)
        elif damage < 0.36:
            body = rng.choice(RAW_BODIES)
        elif damage < 0.46:
            body = _damaged_bytes(rng, body)
        return Sent(method, target, headers, body)

    def _target(self, rng: random.Random, path: str, operation: dict[str, Any], wrong: float) -> str:
        query = []
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                value = str(self._value(rng, parameter["schema"], wrong))
                value = rng.choice(PIECES) if rng.random() < wrong else rng.choice(("demo", "scored", "0", "3", value))
                path = path.replace("{" + parameter["name"] + "}", value if "%" in value else _quoted(value))
            elif rng.random() < 0.5:
                query.append(f"{parameter['name']}={_quoted(str(self._value(rng, parameter['schema'], wrong)))}")
        if rng.random() < wrong:
            query.append(rng.choice(("%", "a=%ff", "&&&", "x" * 2000, "limit=-1", "offset=" + "9" * 40)))
        return path + ("?" + "&".join(query) if query else "")

    def _body(self, rng: random.Random, operation: dict[str, Any], wrong: float) -> bytes:
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            return b"" if rng.random() < 0.8 else rng.choice(RAW_BODIES)
        value = self._value(rng, content["schema"], wrong)
        return json.dumps(value, allow_nan=True).encode()

    def _value(self, rng: random.Random, schema: dict[str, Any], wrong: float) -> Any:
        """A value of the schema; each part is something else with probability `wrong`."""
        if rng.random() < wrong:
            return (
                rng.choice(ODD) if rng.random() < 0.7 else rng.choice((float("nan"), float("inf"), 10**30, "x" * 600))
            )
        if "$ref" in schema:
            return self._value(rng, self._schemas[schema["$ref"].rpartition("/")[2]], wrong)
        for key in ("anyOf", "oneOf", "allOf"):
            if key in schema:
                return self._value(rng, rng.choice(schema[key]), wrong)
        if "enum" in schema:
            return rng.choice(schema["enum"])
        if "const" in schema:
            return schema["const"]
        made: dict[str, Callable[[], Any]] = {
            "object": lambda: self._object(rng, schema, wrong),
            "array": lambda: self._array(rng, schema, wrong),
            "integer": lambda: _number(rng, schema, whole=True),
            "number": lambda: _number(rng, schema, whole=False),
            "string": lambda: rng.choice(TEXTS),
            "boolean": lambda: rng.random() < 0.5,
            "null": lambda: None,
        }
        return made[schema["type"]]() if "type" in schema else rng.choice(ODD)

    def _object(self, rng: random.Random, schema: dict[str, Any], wrong: float) -> dict[str, Any]:
        required = schema.get("required", ())
        found = {
            name: self._value(rng, part, wrong)
            for name, part in schema.get("properties", {}).items()
            if (name in required and rng.random() >= wrong) or rng.random() < 0.4
        }
        if "text" in schema.get("properties", {}) and "token_ids" in schema["properties"] and rng.random() >= wrong:
            found.pop("token_ids", None)
            found["text"] = rng.choice(TEXTS[2:4])
        if rng.random() < wrong:
            found[rng.choice(("extra", "__proto__", "", "\x00", "model"))] = rng.choice(ODD)
        return found

    def _array(self, rng: random.Random, schema: dict[str, Any], wrong: float) -> list[Any]:
        least = schema.get("minItems", 0)
        return [self._value(rng, schema.get("items", {}), wrong) for _ in range(rng.randint(least, least + 2))]


def _number(rng: random.Random, schema: dict[str, Any], *, whole: bool) -> float:
    """Mostly small, sometimes at or beyond a limit."""
    low, high = schema.get("minimum", -3), schema.get("maximum", schema.get("exclusiveMaximum", 10))
    limits = [low, high, low - 1, high + 1]
    value = rng.choice(limits) if rng.random() < 0.05 else max(low, 0) + rng.randint(0, 4)
    return int(value) if whole else value + rng.random()


def _quoted(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def _damaged_headers(rng: random.Random, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    changed = [pair for pair in headers if rng.random() < 0.8]
    changed += [(rng.choice(HEADER_NAMES), rng.choice(HEADER_VALUES)) for _ in range(rng.randint(1, 4))]
    rng.shuffle(changed)
    return changed


def _damaged_bytes(rng: random.Random, body: bytes) -> bytes:
    changed = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        cut = min(len(changed), at + rng.randint(0, 3))
        changed[at:cut] = bytes(rng.randrange(256) for _ in range(rng.randint(0, 3)))
    return bytes(changed)
