"""`cleanup-pipeline report`: what a period came to, from the ledger. Needs neither Dagster nor the settings."""

import os
import sys
import tempfile
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy.engine import make_url

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.ledger_place import ledger_url
from cleanup_pipeline.cli.show import complain, console
from cleanup_pipeline.ledger.connect import SETTING
from cleanup_pipeline.model.durations import parse_duration

if TYPE_CHECKING:
    from cleanup_pipeline.ledger import Ledger
    from cleanup_pipeline.reporting.report.document import Report

NOTHING = "no pass is on record"
_DAY = timedelta(days=1)


class Grouping(StrEnum):
    """What figures are grouped by."""

    TARGET = "target"
    KIND = "kind"
    STORE = "store"
    PASS = "pass"  # noqa: S105 - a pass, not a password


class Period(StrEnum):
    """What the time is cut into."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Format(StrEnum):
    """How a report is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    HTML = "html"
    MD = "md"


def report(
    since: Annotated[
        str, typer.Option("--since", metavar="WHEN", help="How many days, such as 30d or 52w, or the first one.")
    ] = "30d",
    until: Annotated[
        str | None, typer.Option("--until", metavar="WHEN", help="The last day, such as 2026-11-30 or 7d ago. Today.")
    ] = None,
    by: Annotated[Grouping, typer.Option("--by", help="What to group by.")] = Grouping.TARGET,
    every: Annotated[
        Period | None, typer.Option("--every", help="What to cut the time into. As fits its length.")
    ] = None,
    style: Annotated[
        Format | None, typer.Option("--format", "-f", help="As the file's name ends, else a table.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there.")] = None,
) -> None:
    """Report what was removed, how fast, what failed, what is left and where that is going.

    Days are those of UTC. `--since 30d` is today and the 29 days before. `1,200 to 1,400` was removed where a process
    was killed: between what it wrote down and what it had announced. A dash is unknown.

    \b
    Examples:
      cleanup-pipeline report
      cleanup-pipeline report --since 2026-11-01 --until 2026-11-30 --by kind
      cleanup-pipeline report --since 52w --every month --format csv
      cleanup-pipeline report -o report.html
    """
    today = datetime.now(UTC).date()
    last = _day(until, today, "--until") if until else today
    first = _day(since, last + _DAY, "--since")
    if first > last:
        raise UsageError(f"the period ends before it begins: --since is {first}, --until {last}")
    chosen = style or _of_name(output)
    if output is not None and output.is_dir():
        raise UsageError(f"--output: found {output}, which is a folder; name a file in it, such as report.html")
    made = _made(first, last, by, every)
    if made is None or made.empty:
        _say_nothing(made, first, last, chosen, output)
        return
    _put(made, chosen, output)


def _day(text: str, before: date, option: str) -> date:
    """A day, or so many whole days before another one."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        pass
    try:
        back = parse_duration(text.removesuffix(" ago"))
        # What is begun counts as a whole day.
        return before - timedelta(days=max(0, -(-back // _DAY)))
    except (ValueError, OverflowError):
        raise UsageError(f"{option}: found {text}, expected a number of days such as 30d, or a day") from None


def _of_name(output: Path | None) -> Format:
    ending = output.suffix.lower().removeprefix(".") if output else ""
    if ending == "htm":
        return Format.HTML
    return Format(ending) if ending in set(Format) - {Format.TABLE} else Format.TABLE


def _made(since: date, until: date, by: Grouping, every: Period | None) -> "Report | None":
    """None: there is no ledger yet."""
    url = ledger_url()
    from cleanup_pipeline.ledger import LedgerError, open_ledger

    if missing(url):
        return None
    try:
        ledger = open_ledger(url)
        try:
            _add_up(ledger)
            # Half a second, for pandas: whoever asked wrongly has been told by now.
            from cleanup_pipeline.reporting.report.build import build_report

            return build_report(ledger, since, until, by=by.value, every=every.value if every else None)
        finally:
            ledger.close()
    except LedgerError as fault:
        raise UsageError(str(fault)) from None


def missing(url: str) -> bool:
    """A file that is not there is not made by looking."""
    try:
        place = make_url(url)
    except Exception:  # noqa: BLE001 - open_ledger says what is wrong with it
        return False
    file = place.database if place.get_backend_name() == "sqlite" else None
    return file not in {None, "", ":memory:"} and not Path(str(file)).exists()


def _add_up(ledger: "Ledger") -> None:
    """Days that are over are added up for good, so that the next report need not."""
    from cleanup_pipeline.ledger import LedgerError

    try:
        ledger.seal()
    except LedgerError:
        # A ledger that may only be read: a slower report.
        return


def _say_nothing(made: "Report | None", since: date, until: date, style: Format, output: Path | None) -> None:
    told = f"{NOTHING} from {since} to {until}"
    if made is None:
        named = f": there is no ledger yet where {SETTING} says it is" if os.environ.get(SETTING) else ""
        told = f"{NOTHING}{named}"
    if made is not None and (output is not None or style is not Format.TABLE):
        _put(made, style, output)
        complain(told)
    elif output is None and style is Format.TABLE:
        console().print(told)
    else:
        complain(told)


def _put(made: "Report", style: Format, output: Path | None) -> None:
    if style is Format.TABLE:
        from cleanup_pipeline.cli.report_show import as_text, show

        if output is None:
            show(console(), made)
            return
        text = as_text(made)
    else:
        text = _written(made, style)
    if output is None:
        sys.stdout.write(text)
        return
    _write(output, text)
    console().print(f"{output}: {len(text.encode()) / 1024:,.0f} KiB", markup=False)


def _written(made: "Report", style: Format) -> str:
    from cleanup_pipeline.reporting.report import text

    match style:
        case Format.HTML:
            from cleanup_pipeline.reporting.report.page import as_html

            return as_html(made)
        case Format.JSON:
            return text.as_json(made)
        case Format.CSV:
            return text.as_csv(made)
        case _:
            return text.as_markdown(made)


def _write(output: Path, text: str) -> None:
    """All of it or nothing: whoever reads the file meanwhile sees the old one."""
    try:
        handle, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            mask = os.umask(0)
            os.umask(mask)
            Path(name).chmod(0o666 & ~mask)
            Path(name).replace(output)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as fault:
        raise UsageError(f"--output: {output} cannot be written ({fault.strerror}); name another file") from None
