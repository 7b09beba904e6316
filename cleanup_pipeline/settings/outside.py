"""Secrets that come from a variable or a file, never from the settings file itself."""

import re
from pathlib import Path as FilePath
from typing import Any

from cleanup_pipeline.settings.faults import Fault, FromEnvironment, Path, dotted

LONGEST_URL = 8192


def read_outside(
    name: Any, path: Path, folder: FilePath, faults: list[Fault], what: str = "the URL"
) -> FromEnvironment | None:
    """The content of the file that `url_file` or `secret_file` names, relative to `folder`; None: a fault was added."""
    expected = f"the path of a readable file that holds {what}"
    if not isinstance(name, str) or not name.strip():
        faults.append(Fault(dotted(path), "no text", expected))
        return None
    if "://" in name:
        faults.append(Fault(dotted(path), "a URL (not shown)", expected, remedy="a URL belongs in url, as ${VAR}"))
        return None
    try:
        with (folder / str(name)).open("rb") as file:
            content = file.read(LONGEST_URL + 1)
        text = content.decode("utf-8").strip()
    except OSError as error:
        reason = type(error).__name__
    except ValueError:
        reason = "it is not UTF-8 text, or its name is not one"
    else:
        return FromEnvironment(text, (), "\0" * len(text))
    faults.append(Fault(dotted(path), f"a file that cannot be read ({reason})", expected))
    return None


def has_literal_password(literal: str) -> bool:
    """True when some of the password stands in the file itself; NUL characters came from outside."""
    match = re.match(r"[^:/]*://([^/?#]*)@", literal.strip())
    password = match[1].partition(":")[2] if match else ""
    return bool(password.replace("\0", ""))
