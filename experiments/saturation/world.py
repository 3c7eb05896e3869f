"""A small bilingual world: three languages, stories in them, and tasks about stories.

E is the language with much text. X and Y are related to it and have little: they share its
names, function words, question words and word order, have no articles, and have their own
verbs and content words. A quarter of these (`RARE`) the base model never sees.

Stories are what a language model reads. Tasks are what an assistant answers, in a format
that no story has; only tasks in E are ever trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from random import Random

__all__ = ["END", "PAD", "TASKS", "UNKNOWN", "VOCABULARY", "Item", "foreign", "stories", "task"]

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
NAMES = "anna ben clara david emma felix greta henry ida jonas karin leo".split()
PLACES = "house garden school market river forest kitchen tower bridge harbour church mill".split()
THINGS = "ball book lamp cup key coat drum rope knife basket letter stone".split()
COLOURS = "red blue green black white yellow brown grey".split()
TOPICS: Mapping[str, list[str]] = {
    "food": "bread soup cheese apple honey rice salt butter".split(),
    "music": "song flute dance violin choir melody rhythm trumpet".split(),
    "weather": "rain wind snow cloud storm sun fog ice".split(),
    "animals": "horse dog cat goat eagle wolf fish bear".split(),
    "travel": "boat road ticket train map wagon journey port".split(),
    "work": "hammer farm shop wage nail plough tool trade".split(),
}
VERBS = "went moved took has likes talked asked said".split()
ANSWERS = ["yes", "no"]
# The same in all three languages.
SHARED = "to is in and about this story where who what colour now".split()
MARKS = [".", "?", ":", "=", "task", "answer"]
ARTICLE = "the"  # of E alone

THEMES = [word for words in TOPICS.values() for word in words]
OWN = [*VERBS, *ANSWERS, *PLACES, *THINGS, *COLOURS, *TOPICS, *THEMES]
# Every fourth content word: in X and Y not in the base's text.
RARE = frozenset(w for group in (PLACES, THINGS, COLOURS, *TOPICS.values()) for w in group[3::4])


def _foreign_words(seed: int, syllables: str) -> dict[str, str]:
    """Return a made-up word for each word of E that a related language has its own for."""
    dice, parts, made = Random(seed), syllables.split(), dict[str, str]()
    taken = {*NAMES, *SHARED, *OWN}
    for word in OWN:
        while True:
            own = dice.choice(parts) + dice.choice(parts) + dice.choice(["", "n", "r", "s"])
            if own not in taken:
                break
        taken.add(own)
        made[word] = own
    return made


WORDS: Mapping[str, Mapping[str, str]] = {
    "x": _foreign_words(1, "ka ko lu mi na pe ru sa te vo"),
    "y": _foreign_words(2, "ba dze fu gi ho jua lei xo wi zu"),
}
VOCABULARY = [PAD, END, UNKNOWN, *MARKS, *SHARED, *NAMES, ARTICLE, *OWN]
VOCABULARY += [word for words in WORDS.values() for word in words.values()]

Sentence = list[str]


@dataclass(frozen=True)
class Item:
    """A task: what the model is given and what it is to answer, in words."""

    prompt: list[str]
    answer: list[str]


def say(language: str, sentence: Iterable[str]) -> Sentence:
    """Return a sentence of E's words in `language`."""
    if language == "e":
        return list(sentence)
    words = WORDS[language]
    return [words.get(word, word) for word in sentence if word != ARTICLE]


def foreign(language: str) -> frozenset[str]:
    """Return the words that are not `language`'s."""
    own = {"e": {*OWN, ARTICLE}, **{name: set(words.values()) for name, words in WORDS.items()}}
    return frozenset(word for name, words in own.items() if name != language for word in words)


class _Scene:
    """Persons, places and things, and what has happened to them so far."""

    def __init__(self, dice: Random, words: Mapping[str, list[str]]) -> None:
        self.dice = dice
        self.people = dice.sample(NAMES, 3)
        self.places = dice.sample(words["places"], 3)
        self.things = dice.sample(words["things"], 3)
        self.colours = words["colours"]
        self.topic = dice.choice(list(TOPICS))
        self.themes = words[self.topic]
        self.place_of: dict[str, str] = {}
        self.owner_of: dict[str, str] = {}
        self.colour_of: dict[str, str] = {}

    def sentence(self) -> list[Sentence]:
        """Let something happen, be said or be asked; asking takes two sentences."""
        kind = self.dice.choices(
            ("move", "take", "colour", "like", "talk", "topic", "ask"),
            (0.20, 0.14, 0.14, 0.10, 0.05, 0.03, 0.34),
        )[0]
        made: list[Sentence] = getattr(self, f"_{kind}")()
        return made

    def _move(self) -> list[Sentence]:
        who, where = self.dice.choice(self.people), self.dice.choice(self.places)
        self.place_of[who] = where
        return [moved(self.dice, who, where)]

    def _take(self) -> list[Sentence]:
        who, what = self.dice.choice(self.people), self.dice.choice(self.things)
        self.owner_of[what] = who
        return [owned(self.dice, who, what)]

    def _colour(self) -> list[Sentence]:
        what = self.dice.choice(self.things)
        colour = self.colour_of.setdefault(what, self.dice.choice(self.colours))
        return [coloured(what, colour)]

    def _like(self) -> list[Sentence]:
        first, second = self.dice.choices(self.themes, k=2)
        return [liked(self.dice.choice(self.people), first, second)]

    def _talk(self) -> list[Sentence]:
        return [talked(self.dice.choice(self.people), self.dice.choice(self.themes))]

    def _topic(self) -> list[Sentence]:
        return [["this", "story", "is", "about", self.topic, "."]]

    def _ask(self) -> list[Sentence]:
        dice, asked = self.dice, None
        kind = dice.choice(TASKS)
        if kind == "where" and self.place_of:
            who = dice.choice(list(self.place_of))
            asked = ask_where(who), [who, "is", "in", ARTICLE, self.place_of[who], "."]
        elif kind == "who" and self.owner_of:
            what = dice.choice(list(self.owner_of))
            asked = ask_who(what), [self.owner_of[what], "has", ARTICLE, what, "."]
        elif kind == "colour" and self.colour_of:
            what = dice.choice(list(self.colour_of))
            asked = ask_colour(what), coloured(what, self.colour_of[what])
        elif kind == "yesno" and self.place_of:
            who = dice.choice(list(self.place_of))
            where, true = _perhaps(dice, self.place_of[who], self.places)
            asked = ask_whether(who, where), ["yes" if true else "no", "."]
        elif kind == "topic":
            asked = ask_topic(), self._topic()[0]
        if asked is None:
            return self._move()
        first, second = dice.sample(self.people, 2)
        return [[first, "asked", ":", *asked[0]], [second, "said", ":", *asked[1]]]


def moved(dice: Random, who: str, where: str) -> Sentence:
    """Say where somebody is, or goes."""
    verb = dice.choice((["went", "to"], ["moved", "to"], ["is", "in"]))
    return [who, *verb, ARTICLE, where, "."]


def owned(dice: Random, who: str, what: str) -> Sentence:
    """Say what somebody has, or takes."""
    return [who, dice.choice(("took", "has")), ARTICLE, what, "."]


def coloured(what: str, colour: str) -> Sentence:
    """Say what colour a thing has."""
    return [ARTICLE, what, "is", colour, "."]


def liked(who: str, first: str, second: str) -> Sentence:
    """Say what somebody likes."""
    return [who, "likes", first, "and", second, "."]


def talked(who: str, what: str) -> Sentence:
    """Say what somebody talked about."""
    return [who, "talked", "about", what, "."]


def ask_where(who: str) -> Sentence:
    """Ask for somebody's place."""
    return ["where", "is", who, "?"]


def ask_who(what: str) -> Sentence:
    """Ask for a thing's owner."""
    return ["who", "has", ARTICLE, what, "?"]


def ask_colour(what: str) -> Sentence:
    """Ask for a thing's colour."""
    return ["what", "colour", "is", ARTICLE, what, "?"]


def ask_whether(who: str, where: str) -> Sentence:
    """Ask whether somebody is somewhere."""
    return ["is", who, "in", ARTICLE, where, "?"]


def ask_topic() -> Sentence:
    """Ask what the story is about."""
    return ["what", "is", "this", "story", "about", "?"]


def _perhaps(dice: Random, true: str, others: list[str]) -> tuple[str, bool]:
    if dice.random() < 0.5:  # noqa: PLR2004 - a fair coin
        return true, True
    return dice.choice([other for other in others if other != true]), False


def _words(*, rare: bool) -> dict[str, list[str]]:
    groups = {"places": PLACES, "things": THINGS, "colours": COLOURS, **TOPICS}
    if rare:
        return groups
    return {name: [w for w in group if w not in RARE] for name, group in groups.items()}


EVERYTHING, COMMON = _words(rare=True), _words(rare=False)


def stories(
    dice: Random, mixture: Mapping[str, float], *, rare: bool = True
) -> Iterator[list[str]]:
    """Yield stories, each a list of words that ends with `END`.

    Args:
        dice: Where chance comes from.
        mixture: Shares of the kinds: "e", "x", "y" for stories in one language, "ex" and "ey"
            for stories that switch between two, "e=x" and "e=y" for sentences with their
            translation.
        rare: Whether stories that are not in E alone have X's and Y's rare words.

    """
    kinds, shares = list(mixture), list(mixture.values())
    while True:
        kind = dice.choices(kinds, shares)[0]
        yield _story(dice, kind, EVERYTHING if rare or kind == "e" else COMMON)


def _story(dice: Random, kind: str, words: Mapping[str, list[str]]) -> list[str]:
    scene = _Scene(dice, words)
    told = [scene.sentence() for _ in range(dice.randrange(3 if "=" in kind else 5, 10))]
    text: list[str] = []
    if "=" in kind:
        first, second = dice.sample(kind.split("="), 2)
        for sentences in told[:4]:
            for sentence in sentences:
                text += [*say(first, sentence), "=", *say(second, sentence)]
    elif len(kind) == 1:
        for sentences in told:
            for sentence in sentences:
                text += say(kind, sentence)
    else:
        for sentences in told:
            for sentence in sentences:
                text += _switched(dice, kind, sentence)
    return [*text, END]


def _switched(dice: Random, languages: str, sentence: Sentence) -> Sentence:
    """Say a sentence in one of two languages, three words in ten in the other."""
    main = dice.choice(languages)
    other = languages.replace(main, "")
    out: Sentence = []
    for word in sentence:
        out += say(other if word != ARTICLE and dice.random() < 0.3 else main, [word])  # noqa: PLR2004
    return out


TASKS = ("where", "who", "colour", "yesno", "topic")


def task(dice: Random, language: str, kind: str) -> Item:
    """Return a task of `kind` (one of `TASKS`) in `language`: a short story and a question.

    One or two persons or things in the story are of the kind that is asked for.
    """
    people, places = dice.sample(NAMES, 4), dice.sample(PLACES, 4)
    things, colours = dice.sample(THINGS, 4), dice.sample(COLOURS, 3)
    many = dice.choice((1, 1, 2))
    which = dice.randrange(many)
    if kind in {"where", "yesno"}:
        told = [moved(dice, people[i], places[i]) for i in range(many)]
        told += [owned(dice, dice.choice(people), things[0]), coloured(things[1], colours[0])]
        question, answer = ask_where(people[which]), places[which]
        if kind == "yesno":
            where, true = _perhaps(dice, places[which], places)
            question, answer = ask_whether(people[which], where), "yes" if true else "no"
    elif kind == "who":
        told = [owned(dice, people[i], things[i]) for i in range(many)]
        told += [coloured(things[2], colours[0]), moved(dice, people[3], places[0])]
        question, answer = ask_who(things[which]), people[which]
    elif kind == "colour":
        told = [coloured(things[i], colours[i]) for i in range(many)]
        told += [owned(dice, people[0], things[0]), moved(dice, people[1], places[0])]
        question, answer = ask_colour(things[which]), colours[which]
    else:
        topic = dice.choice(list(TOPICS))
        first, second = dice.sample(TOPICS[topic], 2)
        told = [liked(people[0], first, second), talked(people[1], dice.choice(TOPICS[topic]))]
        told += [moved(dice, people[2], places[0])]
        question, answer = ask_topic(), topic
    dice.shuffle(told)
    prompt = ["task", ":"]
    for sentence in [*told, question]:
        prompt += say(language, sentence)
    return Item([*prompt, "answer", ":"], [*say(language, [answer]), END])
