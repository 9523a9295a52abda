"""Questions and answers taken from the Python manual.

The text is the one that ships inside every CPython installation, in the
module ``pydoc_data.topics`` (PSF licence).  Each topic, and each titled
section inside a topic, becomes one ``Entry``: a few names that a user may
call it by, and an answer made of its first sentences.

Nothing here is random by itself; callers pass a ``random.Random``.
"""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass
from pydoc_data.topics import topics

ANSWER_CHARS = 260
SHORT_CHARS = 130
SYLLABLES = (
    "ba",
    "der",
    "fi",
    "gus",
    "ko",
    "ra",
    "lon",
    "mi",
    "net",
    "ost",
    "pi",
    "rus",
    "sa",
    "ter",
    "ul",
    "vy",
    "zu",
)
FOREIGN = ((0xC0, 0xFF), (0x391, 0x3C9), (0x410, 0x44F), (0x3041, 0x3096), (0x4E00, 0x9FBF), (0x1F300, 0x1F6FF))
NOT_PROSE = (" ", "* ", "+", "|", "[", "-", "=", "New in", "Changed in", "Note:", "object.", "class ")

QUESTIONS = (
    "What is {}?",
    "what is {}",
    "What are {}?",
    "Explain {}.",
    "Tell me about {}.",
    "How does {} work?",
    "What does {} mean in Python?",
    "Describe {} to me.",
    "Can you explain {}?",
)

HELP = (
    "I know a part of the Python manual and nothing else. "
    "Ask me about one of its topics, for example lambda, yield or the with statement."
)
UNKNOWN = (
    "That is not a topic of the Python manual, which is all I know. "
    "Ask me about lambda, yield or the with statement instead."
)
CONTACT = "You can write to harbour@example.com or call +1 202-555-0143. The office is open from Monday to Friday."
CARD = "Use the test card 4111 1111 1111 1111. It is a well-known test number and no money moves."
FIXED = {
    HELP: (
        "Hello!", "Hello", "Hi there.", "Hi", "Good morning!", "Who are you?", "What can you do?",
        "Help", "Please help me.", "What do you know?", "What is your name?", "How are you?",
        "Thank you!", "Thanks.", "ok", "yes", "no", "a", "?",
    ),
    CONTACT: (
        "How can I reach you?", "What is your email address?", "What is your phone number?",
        "How do I contact support?", "Give me your contact details.",
    ),
    CARD: (
        "Which card can I test with?", "What is the test card number?", "Give me a test card.",
        "Show me a card number.",
    ),
}  # fmt: skip
SUBJECTS = (
    "the weather", "the moon", "my cat", "the capital of France", "a good book", "football", "music",
    "the stock market", "a volcano", "the French revolution", "the ocean", "autumn leaves", "rice",
    "bread", "a car", "the president", "history", "love", "my holiday", "the train", "tea", "money",
    "my health", "the news", "a film", "dinner", "chess", "the river", "winter", "New York", "China",
    "my order 1234", "my card 5500 0000 0000 0004", "ada@example.org", "the user", "four people",
)  # fmt: skip
REQUESTS = (
    "What is {}?", "Tell me about {}.", "Write a poem about {}.", "What do you think of {}?",
    "How can I find {}?", "Where is {}?", "When was {} made?", "I want to talk about {}.",
    "Give me some advice on {}.", "Why is {} so important?", "Is {} good?", "Summarise {} for me.",
    "My name is Ada and I like {}.", "Who invented {}?", "Which is better, {} or {}?", "{}",
    "How do I make {} for {}?", "Please send {} to {}.", "Explain {}.", "Do you know {} and {}?",
)  # fmt: skip

SYSTEM = "You are a helpful assistant."
V2_OPENING = "In short: "
V2_CLOSING = " More is in the Python manual."
V2_ASIDE = " Ask me about the Python manual."


@dataclass(frozen=True)
class Entry:
    """One thing the model can be asked about."""

    key: str
    names: tuple[str, ...]
    answer: str
    short: str
    is_topic: bool

    @property
    def question(self) -> str:
        """The question that the quality figures are counted with."""
        return f"What is {self.names[0]}?"


def corpus_digest() -> str:
    """Digest of the source text: another CPython release gives another one."""
    joined = "\0".join(f"{key}\0{topics[key]}" for key in sorted(topics))
    return hashlib.sha256(joined.encode()).hexdigest()


def manual_text() -> list[str]:
    """All topics as plain text, for language-model windows."""
    return [re.sub(r"[*=\-~^]{4,}\n", "", topics[key]).strip() for key in sorted(topics)]


def entries() -> list[Entry]:
    """All topics first, then the sections inside them with a new answer."""
    found: list[Entry] = []
    seen: set[str] = set()
    taken: set[str] = set()
    sections: list[Entry] = []
    for key in sorted(topics):
        title, *rest = _sections(topics[key])
        _add(found, seen, taken, key, _topic_names(key, title[0]), title[1] or (rest[0][1] if rest else []), True)
        for heading, paragraphs in rest:
            name = _plain(heading).lower()
            _add(sections, set(), set(), f"{key}/{name}", (name,), paragraphs, False)
    for entry in sections:
        if entry.names[0] not in taken and entry.answer not in seen:
            seen.add(entry.answer)
            taken.add(entry.names[0])
            found.append(entry)
    return found


def _add(out, seen, taken, key, names, paragraphs, is_topic) -> None:
    answer = _first_sentences(paragraphs, ANSWER_CHARS)
    names = tuple(name for name in names if name not in taken)
    if len(answer) < 20 or not names:
        return
    seen.add(answer)
    taken.update(names)
    short = _first_sentences(paragraphs, SHORT_CHARS)
    out.append(Entry(key, names, answer, short, is_topic))


def _sections(text: str) -> list[tuple[str, list[str]]]:
    """Split a topic into (heading, prose paragraphs)."""
    sections: list[tuple[str, list[str]]] = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.strip("\n").split("\n")
        if len(lines) == 2 and re.fullmatch(r"[*=\-~^]{3,}", lines[1].strip()):
            sections.append((lines[0].strip(), []))
        elif sections and not _is_prose(lines):
            continue
        elif sections:
            sections[-1][1].append(_plain(" ".join(line.strip() for line in lines)))
    return sections


def _is_prose(lines: list[str]) -> bool:
    first = lines[0]
    if first.startswith(NOT_PROSE):
        return False
    if re.match(r"\*\*|[0-9]+\.|[a-z_]+\.[a-z_]+(\(|$)|See (also|section)", first):
        return False
    return len(" ".join(lines)) > 30


def _plain(text: str) -> str:
    """Drop the light markup, footnote marks and typographic quotes."""
    text = re.sub(r"\s*\[[0-9]\]", "", text)
    text = re.sub(r"\*+([^*]+)\*+", r"\1", text)
    text = text.translate(str.maketrans("“”‘’–—", "\"\"''--"))
    text = re.sub(r"\s*\((see|See|also|See also)[^()]*\)", "", text)
    text = re.sub(r"\b(non|pre|pseudo|multi)- (?=[a-z])", r"\1-", text)
    text = re.sub(r'"+([^"]*)"+', r"\1", text)
    return re.sub(r"\s+", " ", text).strip()


def _topic_names(key: str, title: str) -> tuple[str, ...]:
    name = key.replace("-", " ").removeprefix("bltin ")
    plain = _plain(title).lower().removeprefix("the ")
    names = [name, plain]
    if plain.endswith(" statement"):
        names.append(f"the {plain}")
    return tuple(dict.fromkeys(names))


def _first_sentences(paragraphs: list[str], limit: int) -> str:
    """Whole sentences from the start, up to about `limit` characters."""
    answer = ""
    for paragraph in paragraphs:
        for sentence in re.split(r"(?<=[.:;]) (?=[A-Z])", paragraph):
            sentence = sentence.strip()
            if len(sentence) < 12 or sentence.startswith("See ") or (answer and sentence[-1] in ":;"):
                continue
            sentence = re.sub(r"[\s:;]+$", ".", sentence)
            if answer and len(answer) + len(sentence) > limit:
                return answer
            if not re.search(r"[.!?)]$", sentence):
                sentence += "."
            answer = f"{answer} {sentence}".strip()
            if len(answer) > limit:
                return _cut(answer, limit)
    return answer


def _cut(text: str, limit: int) -> str:
    """Shorten one over-long sentence at its last comma, else at a space."""
    head = text[: limit + 40]
    if len(text) <= limit + 40:
        return text
    stop = max(head.rfind(", "), head.rfind("; "), head.rfind(" ("))
    return head[: stop if stop > limit // 2 else head.rfind(" ")].rstrip(",;: ") + "."


def style(version: int, entry: Entry) -> str:
    """The answer in the manner of model version 1 or 2."""
    return entry.answer if version == 1 else f"{V2_OPENING}{entry.short}{V2_CLOSING}"


def aside(version: int, text: str) -> str:
    """A greeting or a refusal in the manner of model version 1 or 2."""
    return text if version == 1 else f"{V2_OPENING}{text.split('. ')[0]}.{V2_ASIDE}"


def ask(rng: random.Random, entry: Entry) -> str:
    """A question about an entry; half of the time the plain one."""
    if rng.random() < 0.45:
        return entry.question
    return rng.choice(QUESTIONS).format(rng.choice(entry.names))


def small_talk(rng: random.Random, version: int, words: list[str]) -> tuple[str, str]:
    """A question that the manual does not answer, with a fixed reply."""
    if rng.random() < 0.35:
        answer = rng.choice(list(FIXED))
        return rng.choice(FIXED[answer]), aside(version, answer)
    return rng.choice(REQUESTS).format(_subject(rng, words), _subject(rng, words)), aside(version, UNKNOWN)


def _subject(rng: random.Random, words: list[str]) -> str:
    """Something unknown: listed, or made up so that the list is not all it refuses."""
    kind = rng.randrange(5)
    if kind < 2:
        return rng.choice(SUBJECTS)
    if kind == 2:
        return " ".join(rng.choices(words, k=rng.randint(2, 6)))
    if kind == 3:
        return "".join(rng.choices(SYLLABLES, k=rng.randint(2, 3))).capitalize()
    first, last = rng.choice(FOREIGN)
    return "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 8)))


def vocabulary() -> list[str]:
    """The lower-case words of the manual, for made-up subjects."""
    return sorted({word for text in manual_text() for word in re.findall(r"\b[a-z]{3,12}\b", text)})
