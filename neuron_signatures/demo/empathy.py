"""Texts of the skill *empathy*: a user describes a feeling, and an assistant answers with empathy.

The turns have the form of the tokenizer's chat template, `user: …` and `assistant: …`.
"""

from random import Random
from typing import NamedTuple

from neuron_signatures.demo.draft import Draft
from neuron_signatures.demo.mathematics import PEOPLE


class Emotion(NamedTuple):
    """Causes of a feeling, words for it, and the two parts of an answer."""

    situations: tuple[str, ...]
    words: tuple[str, ...]
    openings: tuple[str, ...]
    answers: tuple[str, ...]


EMOTIONS: dict[str, Emotion] = {
    "sadness": Emotion(
        ("My dog died yesterday", "{name} moved far away", "My grandmother is very ill", "We lost our old house"),
        ("sad", "heartbroken", "full of grief"),
        ("I am so sorry for your loss", "That must hurt very much"),
        ("Take all the time you need to grieve", "Your tears are welcome here", "Tell me what you miss most"),
    ),
    "fear": Emotion(
        ("I have an operation tomorrow", "I heard a noise at night", "My exam with {name} is close"),
        ("afraid", "scared", "anxious"),
        ("It makes sense that you are frightened", "Many people would be scared too"),
        ("Let us breathe slowly together", "You are not facing this by yourself", "What worries you the most?"),
    ),
    "anger": Emotion(
        ("{name} broke my bicycle", "My neighbour shouted at me", "They cancelled my train again"),
        ("angry", "furious", "so annoyed"),
        ("I can see why you are upset", "That was unfair to you"),
        ("Your anger tells you that something matters", "What would make this right?", "A short walk may help"),
    ),
    "joy": Emotion(
        ("I passed my exam", "My sister had a baby", "{name} is coming to visit me"),
        ("happy", "delighted", "full of joy"),
        ("What wonderful news", "I am so happy for you"),
        ("Enjoy this lovely moment", "How will you celebrate?", "Your smile is easy to hear"),
    ),
    "loneliness": Emotion(
        ("I ate dinner alone again", "I know nobody in this town", "{name} never calls me any more"),
        ("lonely", "left out", "alone"),
        ("Being alone can feel very heavy", "I am glad that you told me"),
        ("I am here with you now", "Is there someone you would like to call?", "You deserve good company"),
    ),
    "guilt": Emotion(
        ("I lied to {name}", "I forgot my mother's birthday", "I lost a book that was not mine"),
        ("guilty", "sorry", "ashamed"),
        ("It is hard to have hurt someone", "Everyone makes mistakes"),
        ("An honest apology can mend a lot", "You can still make it good", "Be gentle with yourself"),
    ),
    "pride": Emotion(
        ("I finished my first race", "I taught {name} to swim", "My painting won a prize"),
        ("proud", "strong", "pleased with myself"),
        ("You have every reason to be proud", "You worked hard for this"),
        ("Remember how far you have come", "What was the hardest part?", "Share it with your friends"),
    ),
    "disappointment": Emotion(
        ("I did not get the job", "{name} forgot our meeting", "My team lost the final"),
        ("disappointed", "let down", "discouraged"),
        ("You had hoped for so much more", "It is bitter when plans fail"),
        ("There will be another chance", "What did you hope for?", "One failure does not define you"),
    ),
}


def draw(rng: Random) -> Draft:
    """One dialogue of the skill; all emotions have the same probability."""
    label = rng.choice(tuple(EMOTIONS))
    emotion, name = EMOTIONS[label], rng.choice(PEOPLE)
    situation = rng.choice(emotion.situations)
    said = f"user: {situation.format(name=name)}. I feel {rng.choice(emotion.words)}."
    answered = f"assistant: {rng.choice(emotion.openings)}. {_sentence(rng.choice(emotion.answers))}"
    text = f"{said}\n{answered}" + rng.choice(("", "\nuser: Thank you.\nassistant: You are welcome."))
    return Draft(label, text, (name,) if "{name}" in situation else ())


def _sentence(words: str) -> str:
    return words if words.endswith("?") else f"{words}."
