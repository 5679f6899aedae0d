"""The demo's offline reader: what can be said of a file by reading it. Pure; stands where a model would.

It is given a prompt's text and answers with what is really there: the docstring, the definitions and the
imports of Python, the first line of other text. Files are found and opened in `foldlog.cli.demo_files`,
the session around the answers is in `foldlog.cli.demo_worker`.
"""

import ast
import threading
from dataclasses import asdict, dataclass, field
from typing import Any, Final

MODEL: Final = "offline-reader"
PROVIDER: Final = "demo"

_SUMMARY_CHARS_MAX: Final = 160
_DEFINITIONS_MAX: Final = 500

# One at a time: Python 3.11 counts the depth of all threads' syntax trees in one place, and says SystemError
# where they are made at once.
_parsing: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was read: its name, its size, and as many of its bytes as are looked at."""

    path: str
    byte_count: int
    data: bytes

    @property
    def is_whole(self) -> bool:
        """Whether all of the file is here."""
        return len(self.data) == self.byte_count

    @property
    def is_text(self) -> bool:
        """Whether it can be read as text."""
        return b"\0" not in self.data

    @property
    def text(self) -> str:
        """The text, with a mark for what is not UTF-8; empty for a binary file."""
        return self.data.decode("utf-8-sig", "replace") if self.is_text else ""


@dataclass(slots=True)
class Answer:
    """What the reader says of a file."""

    path: str
    kind: str
    summary: str
    line_count: int = 0
    word_count: int = 0
    definitions: list[dict[str, Any]] = field(default_factory=list)
    imports: list[str] = field(default_factory=list)
    note: str | None = None

    def document(self) -> dict[str, Any]:
        """The answer as a plain value."""
        return asdict(self)


def prompt_for(source: Source) -> list[dict[str, str]]:
    """What a model would be sent."""
    size = f"{source.byte_count:,} bytes"
    body = source.text if source.is_text else f"(binary, {size})"
    return [
        {"role": "system", "content": "Say what this file is for, what it defines and what it imports."},
        {"role": "user", "content": f"{source.path} ({size})\n\n{body}"},
    ]


def read(source: Source) -> Answer:
    """Read one file; never raises, whatever is in it."""
    if not source.is_text:
        return Answer(source.path, "binary", f"{source.byte_count:,} bytes that are no text")
    text = source.text
    answer = Answer(source.path, "text", "", line_count=len(text.splitlines()), word_count=count_words(text))
    if source.path.endswith((".py", ".pyi")):
        _read_python(source, answer)
    if not answer.summary:
        answer.summary = _first_line(text)
    if not source.is_whole:
        answer.note = f"the first {len(source.data):,} of {source.byte_count:,} bytes"
    return answer


def _read_python(source: Source, answer: Answer) -> None:
    if not source.is_whole:
        return
    try:
        with _parsing:
            # The bytes, not the text: Python knows the coding line.
            module = ast.parse(source.data)
        answer.summary = _first_line(ast.get_docstring(module) or "")
        answer.imports = _imports(module)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        answer.note = f"not parsed ({type(error).__name__})"
        return
    answer.kind = "python"
    answer.definitions = _definitions(module)


def _definitions(module: ast.Module) -> list[dict[str, Any]]:
    """Top-level classes and functions, with the names of a class's methods."""
    found: list[dict[str, Any]] = []
    for node in module.body[:_DEFINITIONS_MAX]:
        if isinstance(node, ast.ClassDef):
            methods = [item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
            found.append({"name": node.name, "kind": "class", "line": node.lineno, "methods": methods})
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append({"name": node.name, "kind": "function", "line": node.lineno})
    return found


def _imports(module: ast.Module) -> list[str]:
    """The top-level modules a file imports, wherever in it, each once."""
    found: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return sorted(found)


def _first_line(text: str) -> str:
    """The first line that says something; a docstring's escapes can make characters no encoding has."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line.encode("utf-8", "replace").decode()[:_SUMMARY_CHARS_MAX]


def count_words(text: str) -> int:
    """How many words a text has: what the demo counts as tokens."""
    return len(text.split())


def usage_of(prompt: list[dict[str, str]], answer: Answer) -> dict[str, int]:
    """Tokens of a prompt and its answer, counted as words."""
    given = sum(count_words(message["content"]) for message in prompt)
    words = [answer.kind, answer.summary, *answer.imports, *(item["name"] for item in answer.definitions)]
    brought = sum(map(count_words, words))
    return {"input_tokens": given, "output_tokens": brought, "total_tokens": given + brought}
