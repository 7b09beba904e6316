"""The sections of cleanup.yaml as pydantic models: every key, its type, limits and default.

A target's source and expiry rule depend on the type of its store, so their own models (layouts/source_spec.py,
layouts/expiry_spec.py) are applied in targets.py.
"""

from datetime import date, datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from cleanup_pipeline.layouts.expiry_spec import ExpirySpec
from cleanup_pipeline.layouts.field_types import (
    Column,
    FieldPath,
    Flag,
    Kind,
    Section,
    Zone,
    duration,
    one_of,
    reads,
    refuse,
    shown_as,
    text,
    whole_number,
)
from cleanup_pipeline.layouts.source_spec import CollectionSpec, KeysSpec, TableSpec
from cleanup_pipeline.layouts.table_spec import SCALAR_SCHEMA, GuardSpec, RelatedSpec
from cleanup_pipeline.model.pace import Network
from cleanup_pipeline.model.store_config import LEASE
from cleanup_pipeline.model.target import MAX_BATCH, Scalar
from cleanup_pipeline.model.words import Mode, StoreType
from cleanup_pipeline.settings.brakes import BrakesSection
from cleanup_pipeline.settings.canaries import CanariesSection
from cleanup_pipeline.settings.chunks import ChunksSection
from cleanup_pipeline.settings.members import Patterns
from cleanup_pipeline.settings.networks import read_networks
from cleanup_pipeline.settings.pace import GovernorSection, VetoUrl, Window

LONGEST_OPERATION = timedelta(minutes=5)
MOST_SHARDS = 50
_MILLISECOND = timedelta(milliseconds=1)


def _per_second(value: Any) -> int:
    text_of = str(value).strip().removesuffix("/s").strip()
    if isinstance(value, int | str) and not isinstance(value, bool) and text_of.isdecimal() and int(text_of) > 0:
        return int(text_of)
    raise refuse("a whole number of records a second, such as 5000 or 5000/s")


_PER_SECOND = {
    "anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^\s*[0-9]+\s*(/s)?\s*$|\$\{"}]
}

Interval = Annotated[timedelta, duration(timedelta(minutes=1), whole_minutes=True)]
BatchSize = Annotated[int, whole_number(1, MAX_BATCH)]
OperationTimeout = Annotated[timedelta, duration(_MILLISECOND, LONGEST_OPERATION)]
Pause = Annotated[timedelta, duration(timedelta(0), LONGEST_OPERATION)]
RowLimit = Annotated[int, whole_number(1, None)]
Budget = Annotated[int, reads(_per_second, _PER_SECOND)]
MaxShards = Annotated[int, whole_number(1, MOST_SHARDS)]
Reference = Annotated[str, text("a name")]


def _mapping(value: Any) -> Any:
    if not isinstance(value, dict) or not value:
        raise refuse("a mapping with a rule")
    return value


def _renames(value: Any) -> Any:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise refuse("a mapping of the layout's columns to yours, such as {expires: expires_at}")
    return value


def _where(value: Any) -> Any:
    if not isinstance(value, dict):
        raise refuse("a mapping of columns or fields to values, such as {token_type_id: 1}")
    for key, wanted in value.items():
        if isinstance(wanted, bool | int | str) and key.strip() and key.isprintable():
            continue
        raise refuse("text, a whole number, true or false for each column or field")
    return {str(key): str(wanted) if isinstance(wanted, str) else wanted for key, wanted in value.items()}


def _write_concern(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value and value.isprintable()):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 50:
        return str(value)
    raise refuse("majority, a number of members from 1 to 50, or the name of a custom write concern")


class Limits(Section):
    """How much a target may do at once. In `cleanup` for all targets, in a target for itself."""

    batch_size: BatchSize | None = None
    operation_timeout: OperationTimeout | None = None
    pause: Pause | None = None
    row_limit: RowLimit | None = None
    max_shards: MaxShards | None = None
    census_timeout: OperationTimeout | None = None
    # Checked in pace.py, so that a fault in it has its own path.
    governor: Annotated[Any, shown_as(GovernorSection | None)] = None
    run_window: Window | None = None
    veto_url: VetoUrl | None = None
    brakes: Annotated[Any, shown_as(BrakesSection | None)] = None  # checked in brakes.py

    def given(self) -> dict[str, Any]:
        """Those that are set, under the names that model.target.Target has for them."""
        limits = (name for name in Limits.model_fields if name not in {"governor", "run_window", "veto_url", "brakes"})
        return {name: value for name in limits if (value := getattr(self, name)) is not None}


_NETWORKS_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


class CleanupSection(Limits):
    """`cleanup:`, or `app: {cleanup: ...}`."""

    enabled: Flag = True
    allow_networks: Annotated[tuple[Network, ...], reads(read_networks, _NETWORKS_SCHEMA)] = ()
    parallel: Annotated[int, whole_number(1, 32)] = 1
    budget: Budget | None = None
    session_interval: Interval | None = None
    session_cleanup_interval: Interval | None = None
    verification_interval: Interval | None = None
    verification_cleanup_interval: Interval | None = None


_CONCERN_SCHEMA = {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 50}, {"type": "string", "minLength": 1}]}
# A password has to come from outside: what stands between the colon and the @ is a variable.
_URL_SCHEMA = {"type": "string", "pattern": r"^\s*\$\{|^\s*[A-Za-z][A-Za-z0-9+]*://(?![^/?#@$]*:[^/?#@$]+@)"}


_FROM_OUTSIDE = {"type": "string", "pattern": r"^\s*\$\{[^}]*\}\s*$"}


def _lease(value: timedelta) -> timedelta:
    if timedelta(0) < value < timedelta(seconds=1):
        raise refuse("0 (no leases), or a duration from 1s to 10m")
    return value


class StoreSection(Section):
    """`stores: {name: ...}`."""

    type: Annotated[StoreType | None, one_of(*StoreType)] = None
    # Checked in stores.py, by code that cannot show them.
    url: Annotated[Any, shown_as(_URL_SCHEMA)] = None
    url_file: Annotated[Any, shown_as({"type": "string"})] = None
    urls: Annotated[
        Any, shown_as({"anyOf": [{"type": "array", "minItems": 1, "items": _URL_SCHEMA}, _FROM_OUTSIDE]})
    ] = None
    pool_size: Annotated[int, whole_number(1, 64)] = 4
    connect_timeout: Annotated[timedelta, duration(_MILLISECOND, timedelta(minutes=1))] = timedelta(seconds=5)
    statement_timeout: Annotated[timedelta, duration(_MILLISECOND, LONGEST_OPERATION)] = timedelta(seconds=30)
    lock_timeout: Annotated[timedelta, duration(_MILLISECOND, timedelta(minutes=1))] = timedelta(seconds=2)
    lease: Annotated[timedelta, duration(timedelta(0), timedelta(minutes=10)), AfterValidator(_lease)] = LEASE
    budget: Budget | None = None
    write_concern: Annotated[str | None, reads(_write_concern, _CONCERN_SCHEMA)] = None
    read_preference: Annotated[
        str | None, one_of("primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest")
    ] = None


def _day(value: Any) -> date:
    expected = "a day such as 2026-11-01, from 2001 to 2100"
    try:
        day = date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise refuse(expected) from None
    if not isinstance(day, date) or isinstance(day, datetime) or not 2001 <= day.year <= 2100:
        raise refuse(expected)
    return day


class PassSection(Section):
    """`passes: {name: ...}`."""

    every: Interval | None = None
    enabled: Flag = True
    start: Annotated[date | None, reads(_day, {"type": "string", "pattern": r"^2[01]\d\d-\d\d-\d\d$|\$\{"})] = None
    timezone: Zone = "UTC"
    retries: Annotated[int, whole_number(0, 10)] = 2
    retry_after: Annotated[timedelta, duration(timedelta(seconds=1), timedelta(hours=1))] = timedelta(minutes=1)


_WHERE_SCHEMA = {"anyOf": [{"type": "object", "additionalProperties": SCALAR_SCHEMA}, {"type": "null"}]}


def _as_in(model: type[Section], name: str) -> BeforeValidator:
    """Shown to editors as that field of a source."""
    field = model.model_fields[name]
    shown: Any = field.annotation
    for part in field.metadata:
        shown = Annotated[shown, part]
    return shown_as(shown | None)


class TargetSection(Limits):
    """`targets: {name: ...}`."""

    store: Reference | None = None
    pass_name: Reference | None = Field(default=None, alias="pass")
    kind: Kind | None = None
    layout: Reference | None = None
    # Where records are depends on the type of the store, and is checked in records.py.
    table: Annotated[Any, _as_in(TableSpec, "table")] = None
    schema_name: Annotated[Any, _as_in(TableSpec, "schema_name")] = Field(default=None, alias="schema")
    collection: Annotated[Any, _as_in(CollectionSpec, "collection")] = None
    database: Annotated[Any, _as_in(CollectionSpec, "database")] = None
    schemas: Patterns | None = None
    databases: Patterns | None = None
    exclude_members: Patterns | None = None
    types: Annotated[Any, _as_in(CollectionSpec, "types")] = None
    keys: Annotated[Any, _as_in(KeysSpec, "keys")] = None
    key_type: Annotated[Any, _as_in(KeysSpec, "key_type")] = None
    exclude: Annotated[Any, _as_in(KeysSpec, "exclude")] = None
    params: Any = None  # checked against the layout, in layouts.py
    columns: Annotated[
        dict[str, Column] | None, BeforeValidator(_renames, json_schema_input_type=dict[str, Column] | None)
    ] = None
    expires: Annotated[dict[str, Any] | None, BeforeValidator(_mapping, json_schema_input_type=ExpirySpec | None)] = (
        None
    )
    where: Annotated[dict[str, Scalar] | None, reads(_where, _WHERE_SCHEMA)] = None
    guards: tuple[GuardSpec, ...] = ()
    set_null: tuple[Column, ...] = ()
    unset: tuple[FieldPath, ...] = ()
    detach: tuple[RelatedSpec, ...] = ()
    grace: Annotated[timedelta, duration()] | None = None
    mode: Annotated[Mode, one_of(*Mode)] = Mode.DRY_RUN
    enabled: Flag = True
    if_missing: Annotated[str, one_of("error", "skip")] = "error"
    cascade: Annotated[str, one_of("refuse", "allow")] = "refuse"
    children: Annotated[str | None, one_of("keep", "delete_first")] = None
    vacuum: Flag = False
    drop_partitions: Flag = False
    objective: Annotated[timedelta, duration(timedelta(minutes=1))] | None = None
    canaries: Annotated[Any, shown_as(bool | CanariesSection | None)] = None  # checked in canaries.py
    chunks: Annotated[Any, shown_as(ChunksSection | None)] = None  # checked in chunks.py
    client: FieldPath | None = None
    removal_ledger: Flag = False
    quarantine: Flag = False
    identifier: FieldPath | None = None
    owner: FieldPath | None = None
