"""Reading cleanup.yaml: bytes -> plain mappings, lists and scalars, with ${VAR} put in, nothing clever let through."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from cleanup_pipeline.settings.faults import Fault, FromEnvironment, Path, dotted, looks_secret_key

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 12
MAX_NODES = 20_000  # counted with every alias spelled out, so that a few lines cannot grow into millions

Raw = dict[str, Any]

_STR = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_VARIABLE = re.compile(r"(\$?)\$\{([^{}\n]*)\}")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
# `${X}` is no plain scalar inside {...}: YAML reads a brace there. So expressions are shifted into Unicode's private
# use area while YAML reads the text, and back afterwards. One character stays one, so columns in errors stay true,
# and what a variable holds is never read as YAML structure.
_SHIFT = 0xE000
_SHIFTED = re.compile(f"[{chr(_SHIFT)}-{chr(_SHIFT + 0x7F)}]+")
_PRIVATE = re.compile(r"[\uE000-\uF8FF]")


@dataclass(slots=True)
class Document:
    """What was read, and what was wrong on the way."""

    content: Raw = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    unset: list[Path] = field(default_factory=list)
    """Paths whose value is not known because a variable is not set."""


class _LimitError(Exception):
    """The document is too deep, too large, or uses what is not accepted here."""

    def __init__(self, found: str, expected: str, line: int, column: int) -> None:
        super().__init__(found)
        self.fault = Fault(f"line {line + 1}, column {column + 1}", found, expected)


def read_document(data: bytes, environ: Mapping[str, str]) -> Document:
    """The document in `data`, with every fault of reading it. Never raises for anything that `data` holds."""
    document = Document()
    if len(data) > MAX_BYTES:
        document.faults.append(Fault("", f"{len(data)} bytes", f"at most {MAX_BYTES} bytes of YAML"))
        return document
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        document.faults.append(Fault("", f"a byte that is not UTF-8 at offset {error.start}", "a YAML file in UTF-8"))
        return document
    if _PRIVATE.search(text):
        document.faults.append(Fault("", "a private use character (U+E000 to U+F8FF)", "plain text"))
        return document
    try:
        _read(_hide_variables(text), environ, document)
    except _LimitError as error:
        document.faults.append(error.fault)
    except yaml.YAMLError as error:
        document.faults.append(_syntax_fault(error))
    except (ValueError, OverflowError):
        # Scalars that look like a date or a number and are none: 2024-99-99, 0b_, a number of 5000 digits.
        document.faults.append(Fault("", "a date or number that does not exist", "a value; put text in quotes"))
    return document


def typed_scalar(text: str) -> Any:
    """What YAML makes of a plain scalar with this text: an int, a bool, or the text itself."""
    loader: Any = yaml.SafeLoader("")
    try:
        tag = loader.resolve(yaml.ScalarNode, text, (True, False))
        return loader.construct_object(yaml.ScalarNode(tag, text))
    except (yaml.YAMLError, ValueError, OverflowError):
        return text
    finally:
        loader.dispose()


def _read(text: str, environ: Mapping[str, str], document: Document) -> None:
    _check_events(text)
    loader = yaml.CSafeLoader(text) if yaml.__with_libyaml__ else yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None or (root.tag == "tag:yaml.org,2002:null" and isinstance(root, yaml.ScalarNode)):
            document.faults.append(
                Fault("", "an empty file", "stores and targets", remedy="begin with examples/cleanup.yaml")
            )
            return
        if not isinstance(root, yaml.MappingNode):
            kind = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
            document.faults.append(Fault("", kind, "a mapping with cleanup, stores, passes and targets"))
            return
        _Walk(loader, environ, document).visit(root, ())
        document.content = _spelled_out(loader.construct_document(root))
    finally:
        loader.dispose()


def _spelled_out(value: Any) -> Any:
    """A copy in which no two places share a mapping, so that one can be changed without the other."""
    if isinstance(value, dict):
        return {key: _spelled_out(item) for key, item in value.items()}
    return [_spelled_out(item) for item in value] if isinstance(value, list) else value


def _check_events(text: str) -> None:
    """Refuse depth and tags before anything recursive looks at the document."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):
        mark: Any = event.start_mark
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise _LimitError(f"more than {MAX_DEPTH} levels", f"at most {MAX_DEPTH} levels", mark.line, mark.column)
        if isinstance(event, yaml.NodeEvent) and getattr(event, "tag", None) is not None:
            raise _LimitError("a YAML tag (!...)", "plain mappings, lists and values", mark.line, mark.column)


class _Walk:
    """One look at every node: text keys, no duplicates, no bombs; variables put in."""

    def __init__(self, loader: Any, environ: Mapping[str, str], document: Document) -> None:
        self.loader = loader
        self.environ = environ
        self.document = document
        self.left = MAX_NODES
        self.done: set[int] = set()

    def visit(self, node: yaml.Node, path: Path) -> None:
        self.left -= 1
        if self.left < 0 or len(path) > MAX_DEPTH:
            mark: Any = node.start_mark
            raise _LimitError("too many values", f"at most {MAX_NODES} values", mark.line, mark.column)
        if isinstance(node, yaml.MappingNode):
            self.visit_mapping(node, path)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.visit(item, (*path, str(index)))
        elif isinstance(node, yaml.ScalarNode) and id(node) not in self.done:
            self.done.add(id(node))
            self.put_in(node, path)

    def visit_mapping(self, node: yaml.MappingNode, path: Path) -> None:
        seen: set[str] = set()
        for key, value in node.value:
            mark = key.start_mark
            if not isinstance(key, yaml.ScalarNode):
                raise _LimitError("a key that is no text", "a name", mark.line, mark.column)
            if key.tag == _MERGE:
                self.visit(value, (*path, "<<"))
                continue
            key.tag = _STR  # a column may well be called `on` or `no`
            name = _SHIFTED.sub(lambda found: _shift(found[0], -_SHIFT), key.value)
            key.value = name
            if name in seen:
                self.document.faults.append(
                    Fault(
                        dotted((*path, name)),
                        f"the same key again in line {mark.line + 1}",
                        "every key once",
                        remedy="YAML would silently keep the last one",
                    )
                )
            seen.add(name)
            self.visit(value, (*path, name))

    def put_in(self, node: yaml.ScalarNode, path: Path) -> None:
        if not _SHIFTED.search(node.value):
            return
        names: list[str] = []
        whole, literal = "", ""
        for piece, expression in _pieces(node.value):
            if expression is None:
                whole, literal = whole + piece, literal + piece
                continue
            value, is_literal = self.value_of(expression, path, names)
            whole += value
            literal += value if is_literal else "\0"
        if not node.style:  # plain: None from the Python parser, an empty text from libyaml
            node.tag = self.loader.resolve(yaml.ScalarNode, whole, (True, False))
        node.value = FromEnvironment(whole, names, literal) if names else whole

    def value_of(self, expression: str, path: Path, names: list[str]) -> tuple[str, bool]:
        """What stands for one ${...}, and whether it was written in the file itself."""
        match = _VARIABLE.fullmatch(expression)
        inner = match[2] if match else ""
        if match and match[1]:
            return expression[1:], True
        known = _NAME.fullmatch(inner)
        if known is None:
            self.document.faults.append(
                Fault(dotted(path), "${...} without the name of a variable in it", "${NAME} or ${NAME:-default}")
            )
            self.document.unset.append(path)
            return "", True
        name, default = known[1], known[2]
        value = self.environ.get(name)
        if default is not None and not value:
            return default, True
        if value is None:
            self.document.faults.append(
                Fault(
                    dotted(path),
                    f"${{{name}}}, which is not set",
                    f"the environment variable {name}",
                    remedy=f"set it, or write ${{{name}:-default}}",
                )
            )
            self.document.unset.append(path)
            return "", True
        names.append(name)
        return value, False


def _hide_variables(text: str) -> str:
    return _VARIABLE.sub(lambda match: _shift(match[0], _SHIFT), text)


def _shift(text: str, by: int) -> str:
    """ASCII characters moved by `by` code points; all others stay, as they mean nothing to YAML."""
    low, high = (0, 0x7F) if by > 0 else (-by, -by + 0x7F)
    return "".join(chr(ord(char) + by) if low <= ord(char) <= high else char for char in text)


def _pieces(value: str) -> list[tuple[str, str | None]]:
    """The plain pieces of a scalar and the ${...} expressions in it, in order."""
    plain = _shift(value, -_SHIFT)
    pieces: list[tuple[str, str | None]] = []
    end = 0
    for match in _VARIABLE.finditer(plain):
        pieces += [(plain[end : match.start()], None), ("", match[0])]
        end = match.end()
    return [*pieces, (plain[end:], None)]


def _syntax_fault(error: yaml.YAMLError) -> Fault:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or "characters that YAML does not allow"
    # A name in quotes may be the beginning of a password (`*hunter2` reads as an alias); YAML's own words are in <>.
    problem = re.sub(r"['\"](?![<'\"])[^'\"]{2,}['\"]", "...", _shift(problem, -_SHIFT))
    problem = " ".join(problem.split())
    if looks_secret_key(problem):
        problem = "text that cannot be read"
    place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return Fault(place, f"a YAML syntax error ({problem})", "YAML", remedy="quote text that holds : # { } or [ ]")
