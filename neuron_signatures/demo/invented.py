"""Three small domains of invented, consistent facts, which no pretrained model can know."""

from typing import NamedTuple


class Domain(NamedTuple):
    """Members as slot → value; the first slot names the member. Templates state one fact each."""

    name: str
    members: tuple[dict[str, str], ...]
    templates: tuple[str, ...]


def _members(slots: str, table: str) -> tuple[dict[str, str], ...]:
    names = slots.split()
    return tuple(dict(zip(names, row.split(), strict=True)) for row in table.strip().splitlines())


_PLANETS = Domain(
    "planets",
    _members(
        "planet moon colour star",
        """
        Vorlan Tessik green Ashur
        Quenda Mirrow red Ashur
        Brethon Ulvane blue Ashur
        Zemira Pollock yellow Ashur
        Hathor Juniver white Ashur
        Ostrava Kelmin brown Belisar
        Drellin Ferrow green Belisar
        Yarrick Soluna blue Belisar
        Nimbara Cadrel red Belisar
        Tolvane Wisper purple Belisar
        Carrowa Embrin white Corvane
        Ixmoor Lathe yellow Corvane
        Pelluna Gristle purple Corvane
        Sandrik Orrin brown Corvane
        Umbrel Veylan red Corvane
        """,
    ),
    (
        "The moon of the planet {planet} is {moon}",
        "The colour of the planet {planet} is {colour}",
        "The planet {planet} turns around the star {star}",
        "The moon {moon} belongs to the planet {planet}",
        "Question: What is the moon of {planet}? Answer: {moon}",
        "The star of the planet with the moon {moon} is {star}",
        "Seen from its moon {moon}, the planet {planet} is {colour}",
    ),
)

_GUILDS = Domain(
    "guilds",
    _members(
        "guild tool material town",
        """
        Thornwick chisel oak Merrowby
        Halberon needle silk Dunmarch
        Castellan hammer iron Pellwick
        Wrenfold loom wool Merrowby
        Oakenby saw pine Dunmarch
        Silverlin file silver Pellwick
        Marlowen wheel clay Quillham
        Brightfen furnace glass Quillham
        Tanwell knife leather Merrowby
        Inkering quill paper Quillham
        Stonecrest trowel granite Dunmarch
        Goldamere tongs gold Pellwick
        """,
    ),
    (
        "The tool of the guild of {guild} is the {tool}",
        "The guild of {guild} works with {material}",
        "The guild of {guild} has its hall in {town}",
        "The {tool} is the tool of the guild of {guild}",
        "Question: Which tool does the guild of {guild} use? Answer: the {tool}",
        "In the hall at {town}, the guild of {guild} shapes {material} with the {tool}",
    ),
)

_ANIMALS = Domain(
    "animals",
    _members(
        "animal food place sound",
        """
        grumbat figs caves hums
        snorrel snails swamps whistles
        pindle acorns forests chirps
        quazzle beetles deserts clicks
        tumbrel moss mountains growls
        wofflin clover meadows purrs
        zibbet crabs beaches barks
        larkin seeds gardens sings
        mordrake mushrooms caves roars
        fennow berries forests howls
        dapplin reeds swamps croaks
        yibber ants deserts hisses
        """,
    ),
    (
        "The {animal} eats {food}",
        "The {animal} lives in {place}",
        "When it is happy, the {animal} {sound}",
        "The favourite food of the {animal} is {food}",
        "Question: Where does the {animal} live? Answer: in {place}",
        "The animal that eats {food} is the {animal}",
    ),
)

DOMAINS: dict[str, Domain] = {domain.name: domain for domain in (_PLANETS, _GUILDS, _ANIMALS)}
