"""What the removal ledger and the quarantine of a target come to, said before a pass."""

from cleanup_pipeline.model.target import Target

ENTRY_BYTES, OWNER_BYTES = 28, 16
"""Of an entry of the removal ledger, and more where it has an owner: keeping/segments.py, which loads numpy."""


def keeping_line(target: Target, expired: int | None, bytes_each: float | None) -> str | None:
    """What a plan says of it, in one line; None where nothing is kept.

    `expired` records are expected, and `bytes_each` is what one took in the quarantine lately; None: unknown.
    """
    parts = []
    if target.removals:
        each = ENTRY_BYTES + (OWNER_BYTES if target.owner else 0)
        parts.append(f"removal ledger ({_size(each, expired)})")
    if target.quarantine:
        parts.append(f"quarantine ({_size(bytes_each, expired)})" if bytes_each else "quarantine (size not known yet)")
    return ", ".join(parts) or None


def _size(each: float, expired: int | None) -> str:
    one = f"{each:,.0f} bytes a record"
    return one if expired is None else f"{one}, about {human(each * expired)}"


def human(count: float) -> str:
    """Bytes as a person reads them."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} bytes"
