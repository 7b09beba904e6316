"""What a command says when it was asked for something it cannot do."""

import errno


class UsageError(Exception):
    """One line that names what was wrong and what to do; the process exits with 2."""


def storage_fault(fault: Exception) -> str | None:
    """What to say of Dagster's storage that cannot be used, such as on a full disk; None: it is something else.

    Of the driver's words only the first line, which holds no statement and no values.
    """
    if isinstance(fault, OSError) and fault.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS}:
        words = fault.strerror or "no room"
    else:
        from sqlalchemy.exc import OperationalError

        if not isinstance(fault, OperationalError) or fault.orig is None:
            return None
        words = str(fault.orig).strip().partition("\n")[0][:200]
    return (
        f"DAGSTER_HOME: Dagster's storage cannot be used ({words}); make room on its disk, or see to it that it can be"
        " reached. If a pass was under way, the next one finishes what it left"
    )
