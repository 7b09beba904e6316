"""Rows as PostgreSQL writes composite values, taken apart (documentation, section 8.16.6)."""


def fields_of(text: str) -> list[str | None]:
    """The fields of one row, each as its type's output function wrote it; None is NULL.

    Raises ValueError for text that is no row.
    """
    if len(text) < 2 or text[0] != "(" or text[-1] != ")":
        raise ValueError("no row")
    fields: list[str | None] = []
    at, end = 1, len(text) - 1
    while True:
        field, at = _field(text, at, end)
        fields.append(field)
        if at >= end:
            return fields
        at += 1


def _field(text: str, at: int, end: int) -> tuple[str | None, int]:
    """The field that begins at a place, and where it ends: at a comma, or at the end of the row."""
    if at >= end or text[at] == ",":
        return None, at
    if text[at] != '"':
        stop = text.find(",", at, end)
        stop = end if stop < 0 else stop
        return text[at:stop], stop
    parts: list[str] = []
    at += 1
    while True:
        quote, slash = text.find('"', at, end), text.find("\\", at, end)
        if quote < 0:
            raise ValueError("a quote that does not end")
        if 0 <= slash < quote:
            parts.append(text[at:slash] + text[slash + 1])
            at = slash + 2
            continue
        parts.append(text[at:quote])
        if text[quote + 1 : quote + 2] != '"' or quote + 1 >= end:
            return "".join(parts), quote + 1
        parts.append('"')
        at = quote + 2
