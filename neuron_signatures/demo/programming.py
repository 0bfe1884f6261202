"""Texts of the skill *programming*: short Python programs, with their true output after `# prints`."""

from random import Random

from neuron_signatures.demo.draft import Draft, pick

_LISTS = ("numbers", "values", "scores", "sizes")
_WORDS = ("cat", "tree", "river", "stone", "cloud", "bread")
_FUNCTIONS = (
    ("add", "a, b", "a + b", lambda a, b: a + b),
    ("subtract", "a, b", "a - b", lambda a, b: a - b),
    ("multiply", "a, b", "a * b", lambda a, b: a * b),
    ("largest", "a, b", "max(a, b)", lambda a, b: max(a, b)),
    ("smallest", "a, b", "min(a, b)", lambda a, b: min(a, b)),
)


def draw(rng: Random) -> Draft:
    """One program of the skill; the four sub-skills have the same probability."""
    return pick(rng, ((1.0, _loop), (1.0, _function), (1.0, _condition), (1.0, _error)))(rng)


def _numbers(rng: Random) -> list[int]:
    return [rng.randint(0, 9) for _ in range(rng.randint(2, 4))]


def _prints(*lines: object) -> str:
    return "# prints " + " ".join(str(line) for line in lines)


def _loop(rng: Random) -> Draft:
    name, numbers, n = rng.choice(_LISTS), _numbers(rng), rng.randint(2, 6)
    programs = (
        (f"for i in range({n}):\n    print(i)\n{_prints(*range(n))}", ()),
        (f"{name} = {numbers}\nfor n in {name}:\n    print(n)\n{_prints(*numbers)}", (name,)),
        (
            f"total = 0\nfor n in {numbers}:\n    total = total + n\nprint(total)\n{_prints(sum(numbers))}",
            ("total",),
        ),
        (f"n = {n}\nwhile n > 0:\n    print(n)\n    n = n - 1\n{_prints(*range(n, 0, -1))}", ()),
    )
    text, entities = rng.choice(programs)
    return Draft("loops", text, entities)


def _function(rng: Random) -> Draft:
    name, parameters, body, compute = rng.choice(_FUNCTIONS)
    a, b = rng.randint(0, 9), rng.randint(0, 9)
    word = rng.choice(_WORDS)
    programs = (
        (
            f"def {name}({parameters}):\n    return {body}\n\n\nprint({name}({a}, {b}))\n{_prints(compute(a, b))}",
            (name,),
        ),
        (f"def double(x):\n    return x + x\n\n\nprint(double({a}))\n{_prints(2 * a)}", ("double",)),
        (
            f'def greet(name):\n    return "hello " + name\n\n\nprint(greet("{word}"))\n{_prints("hello", word)}',
            ("greet",),
        ),
    )
    text, entities = pick(rng, ((5.0, programs[0]), (1.0, programs[1]), (1.0, programs[2])))
    return Draft("functions", text, entities)


def _condition(rng: Random) -> Draft:
    x, limit = rng.randint(0, 9), rng.randint(1, 8)
    programs = (
        f'x = {x}\nif x > {limit}:\n    print("big")\nelse:\n    print("small")\n'
        f"{_prints('big' if x > limit else 'small')}",
        f'x = {x}\nif x % 2 == 0:\n    print("even")\nelse:\n    print("odd")\n{_prints("odd" if x % 2 else "even")}',
        f'x = {x}\nif x == {limit}:\n    print("equal")\nelif x < {limit}:\n    print("less")\nelse:\n'
        f'    print("more")\n{_prints("equal" if x == limit else "less" if x < limit else "more")}',
    )
    return Draft("conditions", rng.choice(programs))


def _error(rng: Random) -> Draft:
    error, statement, message = rng.choice(_failures(rng))
    text = f'try:\n    {statement}\nexcept {error}:\n    print("{message}")\n{_prints(message)}'
    return Draft("errors", text, (error,))


def _failures(rng: Random) -> tuple[tuple[str, str, str], ...]:
    number, word, name, numbers = rng.randint(1, 9), rng.choice(_WORDS), rng.choice(_LISTS), _numbers(rng)
    return (
        ("ZeroDivisionError", f"print({number} / 0)", "division by zero"),
        ("ValueError", f'print(int("{word}"))', "not a number"),
        ("IndexError", f"print({numbers}[{number + 4}])", "no such position"),
        ("KeyError", f'print({{}}["{word}"])', "no such key"),
        ("TypeError", f'print("{word}" + {number})', "wrong type"),
        ("NameError", f"print({name})", "no such name"),
    )
