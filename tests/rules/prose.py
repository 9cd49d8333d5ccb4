"""How we say things: actors have names, lines and sentences end.

Prose is every comment and docstring, every other string with a space in it (messages and help texts),
and the documents. Tables, drawings and code inside comments have no sentences and are not measured.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from rules.sources import Violation, name_of

LONGEST_LINE = 110  # columns, in a comment or a docstring
LONGEST_SENTENCE = 40  # words

# The actor is the writer, a producer, another process, the caller: never one of these.
NO_ACTORS = (
    "who|whoever|whom|somebody|someone|nobody|no-one|no one|everybody|everyone|anybody|anyone|"
    "whatever|whichever|he|him|his|she"
)
NO_ACTOR = re.compile(rf"(?<![\w'/-])({NO_ACTORS})(?![\w/]|-\w)", re.I)

# (file, the words around it): the reason why they stay.
ALLOWED: dict[tuple[str, str], str] = {}

SENTENCE_END = re.compile(r"(?<=[.!?])[)\"'`*]*\s+")
LIST_ITEM = re.compile(r"\s*(?:[-*+] |\d+[.)] |[A-Z]\d?[.)] |#)")
NO_PROSE = re.compile(r"\S {2,}\S|^\s*[|+>$]|[-=~]{4,}|\t\S|::$")

Text = list[tuple[int, str]]  # lines with their numbers


def violations_of(file: Path) -> list[Violation]:
    """What breaks the rules of prose in a Python file, a C file or a document."""
    source = file.read_text()
    found = []
    for text in TEXTS[file.suffix](source):
        found += actors(file, text) + long_sentences(file, text)
        if file.suffix != ".md":
            found += long_lines(file, text, source.splitlines())
    return sorted(set(found), key=lambda violation: (violation.line, violation.text))


# -- rules ---------------------------------------------------------------------------------------------


def actors(file: Path, text: Text) -> list[Violation]:
    """Words that stand where an actor should be named."""
    name = name_of(file)
    found = []
    for number, line in text:
        for match in NO_ACTOR.finditer(line):
            if not any(place == name and words in line for place, words in ALLOWED):
                found.append(Violation("prose", name, number, f"{match[0]!r} is no actor: {line.strip()}"))
    return found


def long_lines(file: Path, text: Text, source: list[str]) -> list[Violation]:
    """Lines that are too wide."""
    return [
        Violation("prose", name_of(file), number, f"{len(source[number - 1])} columns")
        for number, _ in text
        if len(source[number - 1]) > LONGEST_LINE
    ]


def long_sentences(file: Path, text: Text) -> list[Violation]:
    """Sentences that have to be read twice."""
    found = []
    for number, sentence in sentences(text):
        if (words := len(re.findall(r"\w[\w'`.-]*", sentence))) > LONGEST_SENTENCE:
            found.append(
                Violation("prose", name_of(file), number, f"a sentence of {words} words: {sentence[:60]}...")
            )
    return found


def sentences(text: Text) -> Iterator[tuple[int, str]]:
    """The sentences of a text; blank lines, list items, tables and code end one."""
    paragraph: Text = []
    for number, line in [*text, (0, "")]:
        stripped = line.strip()
        if not stripped or NO_PROSE.search(stripped) or LIST_ITEM.match(line):
            yield from split(paragraph)
            paragraph = []
            if stripped and not NO_PROSE.search(stripped):
                paragraph.append((number, LIST_ITEM.sub("", stripped, count=1)))
        else:
            paragraph.append((number, stripped))


def split(paragraph: Text) -> Iterator[tuple[int, str]]:
    """The sentences of one paragraph, with the numbers of the lines they begin in."""
    whole = " ".join(line for _, line in paragraph)
    starts, at = [], 0
    for number, line in paragraph:
        starts.append((at, number))
        at += len(line) + 1
    begin = 0
    for match in [*SENTENCE_END.finditer(whole), None]:
        end = match.end() if match else len(whole)
        if sentence := whole[begin:end].strip():
            yield max(start for start in starts if start[0] <= begin)[1], sentence
        begin = end


# -- where prose stands --------------------------------------------------------------------------------


def python_texts(source: str) -> Iterator[Text]:
    """Blocks of comments, and strings that hold more than one word."""
    comments = [
        (token.start, token.string.lstrip("#:"))
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    ]
    block: Text = []
    last = (0, 0)
    for (line, column), comment in comments:
        if block and (line, column) != (last[0] + 1, last[1]):
            yield block
            block = []
        block.append((line, comment.removeprefix(" ")))
        last = line, column
    yield block
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            if node.value.count("\n") == node.end_lineno - node.lineno:
                yield list(enumerate(node.value.split("\n"), node.lineno))
            else:  # joined from parts, or with newlines written as such
                yield [(node.lineno, line) for line in node.value.split("\n")]


def c_texts(source: str) -> Iterator[Text]:
    """Comments, and strings that hold more than one word."""
    token = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\])+'", re.S)
    block: Text = []
    for match in token.finditer(source):
        first = source.count("\n", 0, match.start()) + 1
        if match[0].startswith("/*"):
            inside = match[0][2:-2].split("\n")
            yield [(first + i, re.sub(r"^\s*\* ?", "", line)) for i, line in enumerate(inside)]
        elif match[0].startswith("//"):
            if block and block[-1][0] != first - 1:
                yield block
                block = []
            block.append((first, match[0][2:]))
        elif " " in match[0]:
            yield [(first, match[0][1:-1])]
    yield block


def document_texts(source: str) -> Iterator[Text]:
    """The whole document; the cells of its tables are paragraphs, its code has only comments."""
    code = False
    text: Text = []
    for number, line in enumerate(source.splitlines(), 1):
        if line.lstrip().startswith("```"):
            code = not code
            text.append((number, ""))
        elif code:
            text += [(number, ""), (number, line.partition("# ")[2]), (number, "")]
        elif line.startswith("|"):
            text += [item for cell in line.strip("|").split("|") for item in ((number, cell), (number, ""))]
        else:
            text.append((number, line))
    yield text


TEXTS = {
    ".py": python_texts,
    ".pyi": python_texts,
    ".c": c_texts,
    ".h": c_texts,
    ".md": document_texts,
}
