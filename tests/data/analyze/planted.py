"""Reviews of the packaged data set with faults planted in known places, and texts of four languages."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

from emobench.catalogue.datasets import find_dataset
from emobench.data.documents import Document
from emobench.data.sources import read_rows

FOOTER = "This review first stood in the archive of the film society of the old harbor town."
ACCENTS = "Un très bon café à l'été, déjà vu \u2013 naïf, mais «réussi»."
GERMAN = (
    "Der Film erzählt die Geschichte eines alten Mannes, der nach langer Zeit in sein Dorf zurückkehrt.",
    "Die Schauspieler sind überzeugend, auch wenn das Drehbuch am Ende schwächer wird.",
    "Ich habe selten so gelacht wie bei dieser kleinen und sehr klugen Komödie.",
    "Leider ist die Musik viel zu laut, und die Bilder wirken oft künstlich und kalt.",
)
FRENCH = (
    "Le réalisateur nous offre un portrait touchant d'une famille qui se retrouve après la guerre.",
    "Les acteurs jouent avec beaucoup de justesse, mais le rythme du film reste trop lent.",
    "J'ai été surpris par la fin, que personne dans la salle n'avait vraiment attendue.",
    "Malheureusement, les dialogues sont faibles et la musique ne convient pas du tout.",
)
SPANISH = (
    "La película cuenta la vida de una mujer que busca a su hermano en la gran ciudad.",
    "Los actores están muy bien, aunque la historia pierde fuerza en la segunda mitad.",
    "Nunca me había aburrido tanto en el cine, y eso que el director tiene mucho talento.",
    "Lo mejor es la fotografía, con esos colores cálidos que recuerdan a los años setenta.",
)
FOREIGN = {"german": GERMAN, "french": FRENCH, "spanish": SPANISH}


@dataclass(kw_only=True)
class Planted:
    """Documents, and the places of what was planted among them."""

    documents: list[Document] = field(default_factory=list)
    exact: set[frozenset[str]] = field(default_factory=set)
    """Pairs of places."""
    near: set[frozenset[str]] = field(default_factory=set)
    conflicts: set[frozenset[str]] = field(default_factory=set)
    mojibake: set[str] = field(default_factory=set)
    footers: set[str] = field(default_factory=set)


@cache
def reviews(name: str = "imdb-train") -> tuple[tuple[str, str], ...]:
    """Texts that occur once, with their labels, in a seeded order."""
    rows = read_rows(find_dataset(name))["train"]
    once = dict(zip(map(str, rows.texts), rows.labels, strict=True))
    ordered = sorted(once.items())
    random.Random(5).shuffle(ordered)
    return tuple(ordered)


def edited(text: str, random_: random.Random, share: float = 0.05) -> str:
    """The text with this share of its words replaced, at random places."""
    words = text.split()
    for place in random_.sample(range(len(words)), max(1, round(share * len(words)))):
        words[place] = f"changed{random_.randrange(10**6)}"
    return " ".join(words)


def plant(count: int = 2_000, *, name: str = "imdb-train", seed: int = 1) -> Planted:
    """5 % exact copies, 5 % near copies, 2 % copies under the other label, 1 % mojibake, a footer under 10 %."""
    random_ = random.Random(seed)
    base = reviews(name)[:count]
    made: list[tuple[str, str, str, int]] = [(text, label, "base", at) for at, (text, label) in enumerate(base)]
    chosen = random_.sample(range(count), count * 23 // 100)
    cuts = [0, *(count * percent // 100 for percent in (5, 10, 12, 13, 23))]
    exact, near, conflict, broken, footed = (chosen[start:end] for start, end in pairwise(cuts))
    for at in broken:
        made[at] = (f"{base[at][0]} {ACCENTS.encode().decode('cp1252')}", base[at][1], "mojibake", at)
    for at in footed:
        made[at] = (f"{base[at][0]}\n{FOOTER}", base[at][1], "footer", at)
    made += [(base[at][0], base[at][1], "exact", at) for at in exact]
    made += [(edited(base[at][0], random_), base[at][1], "near", at) for at in near]
    made += [(base[at][0], "1" if base[at][1] == "0" else "0", "conflict", at) for at in conflict]
    random_.shuffle(made)
    found = Planted()
    place_of: dict[int, str] = {}
    for row, (text, label, kind, at) in enumerate(made):
        found.documents.append(Document(text, label, f"reviews.csv:{row}"))
        if kind in ("base", "mojibake", "footer"):
            place_of[at] = f"reviews.csv:{row}"
    pairs = {"exact": found.exact, "near": found.near, "conflict": found.conflicts}
    for row, (_, _, kind, at) in enumerate(made):
        if kind in pairs:
            pairs[kind].add(frozenset((place_of[at], f"reviews.csv:{row}")))
        elif kind != "base":
            (found.mojibake if kind == "mojibake" else found.footers).add(f"reviews.csv:{row}")
    return found


def batches(documents: list[Document], size: int) -> list[list[Document]]:
    """The documents in batches of this size."""
    return [documents[start : start + size] for start in range(0, len(documents), size)]
