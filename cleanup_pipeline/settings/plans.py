"""`plans:` -> PlanSettings: how long a plan may be applied, and what it shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Annotated

from cleanup_pipeline.layouts.field_types import Section, duration, whole_number
from cleanup_pipeline.settings.faults import Fault, SettingsError

VALID_FOR = timedelta(hours=24)
SAMPLE = 3
KEY_VARIABLE = "CLEANUP_PLAN_KEY"
_SHORTEST_KEY = 16


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """How plans are made."""

    valid_for: timedelta = VALID_FOR
    """From when it was made; then it is void."""
    sample: int = SAMPLE
    """Records of each sort that it shows: the oldest and youngest that go, those that stay next to them. 0: none."""


class PlansSection(Section):
    """`plans:`."""

    valid_for: Annotated[timedelta, duration(timedelta(minutes=1), timedelta(days=7))] = VALID_FOR
    sample: Annotated[int, whole_number(0, 20)] = SAMPLE

    def plans(self) -> PlanSettings:
        """The settings that this section is."""
        return PlanSettings(self.valid_for, self.sample)


def own_key(environ: Mapping[str, str]) -> bytes | None:
    """The key of hashes that the environment gives; None: the ledger's own is used. Raises SettingsError."""
    text = environ.get(KEY_VARIABLE, "")
    if not text:
        return None
    if len(text) < _SHORTEST_KEY:
        wanted = f"at least {_SHORTEST_KEY} characters that nobody can guess"
        raise SettingsError("environment", [Fault(KEY_VARIABLE, f"{len(text)} characters", wanted)])
    return sha256(text.encode()).digest()
