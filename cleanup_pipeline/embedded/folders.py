"""Where PostgreSQL keeps its data and finds its programs when it may not run as the user who starts it.

PostgreSQL refuses to be root, so root starts it as `nobody`, who cannot get into a clone under /root.
"""

import atexit
import os
import pwd
import shutil
import tempfile
from pathlib import Path
from typing import Any

_PREFIX = "cleanup-pipeline-"
_LINK = "elsewhere"
_OWNER = "folder"
"""In a data folder that is elsewhere: the path of the link that leads to it."""


def unprivileged() -> pwd.struct_passwd | None:
    """Whom to run PostgreSQL as when we are root; None when we are not. Raises KeyError without a user `nobody`."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def as_user(user: pwd.struct_passwd | None) -> dict[str, Any]:
    """Arguments of subprocess that start a program as `user`."""
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def readable(package: Path, user: pwd.struct_passwd | None) -> Path:
    """`package`, or a copy of it until this program ends when `user` cannot get at it."""
    if user is None or _traversable(package):
        return package
    place = _temporary()
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    # Its programs look for the libraries of the wheel in the folder beside the package.
    for folder in (package, package.with_name(f"{package.name}.libs")):
        if folder.is_dir():
            shutil.copytree(folder, place / folder.name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for copied in place.rglob("*"):
        if not copied.is_symlink():
            mode = copied.stat().st_mode
            # An installation under a strict umask is closed file by file.
            copied.chmod(mode | 0o444 | (mode & 0o100 and 0o111))
    return place / package.name


def writable(folder: Path, user: pwd.struct_passwd | None) -> Path:
    """`folder`, given to `user`, or when `user` cannot get at it one elsewhere that `folder` keeps a link to."""
    folder.mkdir(parents=True, exist_ok=True)
    if user is None:
        return folder
    chosen = folder if _traversable(folder) else _elsewhere(folder)
    chosen.chmod(0o755)
    os.chown(chosen, user.pw_uid, user.pw_gid)
    return chosen


def _elsewhere(folder: Path) -> Path:
    _drop_forgotten()
    link = folder / _LINK
    if not link.exists():
        link.unlink(missing_ok=True)  # what it led to was in a temporary folder that somebody emptied
        place = _temporary()
        link.symlink_to(place)
        (place / _OWNER).write_text(str(link.absolute()), "utf-8")
    return link.resolve()


def _drop_forgotten() -> None:
    """Remove data folders whose link was removed: nothing else would ever do that."""
    for note in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_OWNER}"):
        place = note.parent
        # Only our own notes count: anybody may put a folder of that name into a shared place.
        if note.is_symlink() or note.stat().st_uid != os.geteuid() or (place / "data" / "postmaster.pid").exists():
            continue
        link = Path(note.read_text("utf-8"))
        if not (link.is_symlink() and link.resolve() == place.resolve()):
            shutil.rmtree(place, ignore_errors=True)


def _temporary() -> Path:
    place = Path(tempfile.mkdtemp(prefix=_PREFIX))
    place.chmod(0o755)
    return place


def _traversable(folder: Path) -> bool:
    return all(place.stat().st_mode & 0o001 for place in (folder, *folder.resolve().parents) if place.exists())
