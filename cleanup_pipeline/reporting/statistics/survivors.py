"""The oldest record that should be gone, by the witness's own query and not from the passes' tallies."""

from datetime import UTC, datetime

import pandas as pd

from cleanup_pipeline.ledger import Ledger
from cleanup_pipeline.ledger.latest import latest_witnesses
from cleanup_pipeline.reporting.statistics.figures import table


def oldest_survivors(ledger: Ledger, now: datetime | None = None) -> pd.DataFrame:
    """What the last check of each target found, up to `now`.

    | column | dtype | meaning |
    |---|---|---|
    | target | string | |
    | checked_at | datetime64[us, UTC] | when |
    | survivors | Int64 | expired records that were there; NA: unknown |
    | known | bool | whether the oldest of them could be looked for |
    | age_seconds | Float64 | how long the oldest had been due when it was checked; 0: there was none; NA: unknown |
    | objective_seconds | Float64 | what it may be at most |

    Raises LedgerError.
    """
    rows = []
    for seen in latest_witnesses(ledger, now or datetime.now(UTC)):
        age: float | None = None
        if seen.known:
            due = seen.oldest_survivor
            age = 0.0 if due is None else max(0.0, (seen.checked_at - due).total_seconds())
        rows.append((seen.target, seen.checked_at, seen.survivors, seen.known, age, seen.objective_seconds))
    return table(rows, _COLUMNS)


_COLUMNS = {
    "target": "string",
    "checked_at": "datetime64[us, UTC]",
    "survivors": "Int64",
    "known": "bool",
    "age_seconds": "Float64",
    "objective_seconds": "Float64",
}
