"""Texts of the skill *mathematics*. Every statement is true; numbers are whole and not negative."""

from random import Random

from neuron_signatures.demo.draft import Draft, pick

PEOPLE = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Ivy", "Jonas", "Lena", "Oscar")
_THINGS = ("apples", "books", "coins", "stones", "stamps", "pencils")

_SUMS = (
    (6.0, "{a} + {b} = {c}"),
    (1.0, "{a} plus {b} is {c}"),
    (1.0, "The sum of {a} and {b} is {c}"),
    (1.0, "Question: What is {a} + {b}? Answer: {c}"),
)
_DIFFERENCES = ((3.0, "{a} - {b} = {c}"), (1.0, "{a} minus {b} is {c}"))
_PRODUCTS = ((3.0, "{a} * {b} = {c}"), (1.0, "{a} times {b} is {c}"))


def draw(rng: Random) -> Draft:
    """One text of the skill; half of them are arithmetic."""
    return pick(rng, ((6.0, _arithmetic), (2.0, _comparison), (2.0, _algebra), (2.0, _sequence)))(rng)


def _arithmetic(rng: Random) -> Draft:
    if rng.random() < 0.1:
        return _word_problem(rng)
    lines = [_calculation(rng) for _ in range(rng.choice((1, 1, 1, 2, 4, 8)))]
    return Draft("arithmetic", "\n".join(lines))


def _calculation(rng: Random) -> str:
    return pick(rng, ((6.0, _digit_sum), (1.0, _sum), (1.5, _difference), (1.5, _product)))(rng)


def _digit_sum(rng: Random) -> str:
    a, b = rng.randint(0, 9), rng.randint(0, 9)
    return pick(rng, _SUMS).format(a=a, b=b, c=a + b)


def _sum(rng: Random) -> str:
    a, b = rng.randint(10, 89), rng.randint(0, 9)
    return pick(rng, _SUMS).format(a=a, b=b, c=a + b)


def _difference(rng: Random) -> str:
    c, b = rng.randint(0, 9), rng.randint(0, 9)
    return pick(rng, _DIFFERENCES).format(a=b + c, b=b, c=c)


def _product(rng: Random) -> str:
    a, b = rng.randint(0, 9), rng.randint(0, 9)
    return pick(rng, _PRODUCTS).format(a=a, b=b, c=a * b)


def _word_problem(rng: Random) -> Draft:
    name, thing, a, b = rng.choice(PEOPLE), rng.choice(_THINGS), rng.randint(2, 9), rng.randint(2, 9)
    text = f"{name} has {a} {thing} and gets {b} more. Now {name} has {a + b} {thing}."
    return Draft("arithmetic", text, (name,))


def _comparison(rng: Random) -> Draft:
    low, high = sorted(rng.sample(range(100), 2) if rng.random() < 0.5 else rng.sample(range(10), 2))
    a, b = rng.sample((low, high), 2)
    answer = "Yes" if a > b else "No"
    texts = (
        f"{high} is greater than {low}",
        f"{low} is less than {high}",
        f"{a} {'>' if a > b else '<'} {b}",
        f"The larger of {a} and {b} is {high}",
        f"The smaller of {a} and {b} is {low}",
        f"Question: Is {a} greater than {b}? Answer: {answer}",
    )
    return Draft("comparison", rng.choice(texts))


def _algebra(rng: Random) -> Draft:
    unknown, x, a = rng.choice("xyz"), rng.randint(0, 9), rng.randint(1, 9)
    equation = rng.choice((f"{unknown} + {a} = {x + a}", f"{a} + {unknown} = {x + a}", f"{a} * {unknown} = {a * x}"))
    text = rng.choice(
        (
            f"If {equation}, then {unknown} = {x}",
            f"Solve {equation}. The solution is {unknown} = {x}",
        )
    )
    return Draft("algebra", text)


def _sequence(rng: Random) -> Draft:
    step, length = rng.choice((1, 2, 3, 5, 10)), rng.randint(4, 8)
    first = rng.randint(0, 9)
    terms = [first + step * k for k in range(length)]
    if rng.random() < 0.3:
        return Draft("sequences", f"Count down by {step}: {_comma(terms[::-1])}")
    if rng.random() < 0.3:
        return Draft("sequences", f"The number after {_comma(terms[:-1])} is {terms[-1]}")
    return Draft("sequences", f"Count up by {step}: {_comma(terms)}")


def _comma(terms: list[int]) -> str:
    return ", ".join(str(term) for term in terms)
