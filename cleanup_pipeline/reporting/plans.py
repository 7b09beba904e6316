"""Plans in words and tables: on Dagster's pages and on a terminal. A dash means unknown, never zero."""

from collections.abc import Sequence
from datetime import datetime

from cleanup_pipeline.model.durations import format_duration
from cleanup_pipeline.model.outline import Band, Clients, Drift, Estimate, Outline, Sampled
from cleanup_pipeline.reporting.markdown import table
from cleanup_pipeline.reporting.words import UNKNOWN, number, seconds


def band_words(band: Band) -> str:
    """`1h to 1d`, and of the last one `over 30d`."""
    if band.upto is None:
        return f"over {format_duration(band.over)}"
    upto = format_duration(band.upto)
    return f"{format_duration(band.over)} to {upto}" if band.over else f"up to {upto}"


def ages(outline: Outline) -> str:
    """`12 up to 1h; 340 1h to 1d`; bands that hold nothing are left out."""
    return "; ".join(f"{number(band.count)} {band_words(band)}" for band in outline.bands if band.count != 0)


def clients_words(clients: Clients) -> str:
    """`web 120, app 7, 3 of others, 2 of none`."""
    parts = [f"{each.client} {number(each.count)}" for each in clients.top]
    parts += [f"{number(clients.others)} of others"] if clients.others else []
    parts += [f"{number(clients.none)} of none"] if clients.none else []
    return ", ".join(parts) or "none"


def estimate_words(estimate: Estimate) -> str:
    """Batches, time, load, and where the figures come from."""
    took = UNKNOWN if estimate.seconds is None else seconds(estimate.seconds)
    rate = UNKNOWN if estimate.per_second is None else f"{estimate.per_second:,.0f}"
    busy = UNKNOWN if estimate.busy_share is None else f"{estimate.busy_share:.0%}"
    passes = "1 pass" if estimate.passes == 1 else f"{estimate.passes} passes"
    batches = "1 batch" if estimate.batches == 1 else f"{number(estimate.batches)} batches"
    by = f"measured, {passes}" if estimate.passes else "by the settings, nothing measured yet"
    return (
        f"about {took}, {batches} of at most {number(estimate.largest_batch)},"
        f" {rate} records/s, the store busy {busy} of it ({by})"
    )


def instant(at: datetime | None) -> str:
    """To the second, in UTC."""
    return UNKNOWN if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def sample_table(sample: Sequence[Sampled]) -> str:
    """Records near the line, as Markdown."""
    rows = [(str(each.why), each.id, instant(each.dies), each.client or "") for each in sample]
    return table(("", "record (keyed hash)", "dies (UTC)", "client"), rows)


def outline_table(outline: Outline, estimate: Estimate | None) -> str:
    """The counts of an outline, as Markdown."""
    rows: list[tuple[str, ...]] = [(f"expired {band_words(band)} before", number(band.count)) for band in outline.bands]
    if outline.clients is not None:
        rows.append(("expired by client", clients_words(outline.clients)))
    if estimate is not None:
        rows.append(("takes", estimate_words(estimate)))
    rows += [("not known", note) for note in outline.notes]
    return table(("", ""), rows)


def drift_rows(drift: Drift) -> list[tuple[str, str]]:
    """What became of a plan, a row a figure."""
    about = "about " if drift.estimated else ""

    def shown(value: int | None, guessed: bool = True) -> str:
        return UNKNOWN if value is None else f"{about if guessed and value else ''}{number(value)}"

    return [
        ("planned", shown(drift.planned, guessed=False)),
        ("still there and expired", shown(drift.there)),
        ("gone before", shown(drift.gone)),
        ("revived", shown(drift.revived)),
        ("new, not covered", shown(drift.new)),
        ("of these written since as expired", shown(drift.arrived)),
    ]


def drift_table(drift: Drift) -> str:
    """The same as Markdown, with what could not be told."""
    return table(("", ""), [*drift_rows(drift), *(("not known", note) for note in drift.notes)])
