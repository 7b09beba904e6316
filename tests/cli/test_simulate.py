"""`simulate`: by the ledger of passes that ran, and by a scenario file."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import Result
from rich.console import Console
from typer.testing import CliRunner

from cleanup_pipeline.cli.errors import UsageError
from cleanup_pipeline.cli.main import app
from cleanup_pipeline.cli.simulate_show import advice, length, short, show, show_choices, show_once
from cleanup_pipeline.simulation.costs import OWN
from cleanup_pipeline.simulation.recommend import PAUSES, SIZES, best, choices
from cleanup_pipeline.simulation.scenario import Executor, Kind, PassModel
from cleanup_pipeline.simulation.simulate import simulate, simulate_once
from tests.simulation.conftest import batching, scenario, target

SETTINGS = """
cleanup: {batch_size: 100, pause: 0s, brakes: {unusual_share: off}}
stores: {main: {type: postgres, url: "${CLEANUP_POSTGRES_URL}"}}
targets: {web_sessions: {store: main, table: web, expires: {column: expires_at}, mode: delete}}
"""
SCENARIO = """
stores: {pg: {type: postgres}}
passes: {p: {every: 1h, retries: 0}}
targets: {t: {store: pg, pass: p, batch: {fixed: 1ms, per_record: 1us}, pause: 1s, arrivals: 1000/s}}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without settings of its own, from which commands are run."""
    monkeypatch.chdir(tmp_path)
    for name in ("CLEANUP_SETTINGS", "CLEANUP_LEDGER_URL", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def found(*arguments: str, code: int = 0) -> dict[str, Any]:
    result = run("simulate", *arguments, "--json")
    assert result.exit_code == code, result.output
    assert result.stdout.count("\n") == 1
    read: dict[str, Any] = json.loads(result.stdout)
    return read


def fault(*arguments: str) -> str:
    result = run("simulate", *arguments)
    assert isinstance(result.exception, UsageError), result.output
    return str(result.exception)


def test_a_budget_is_no_part_of_it_and_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANUP_POSTGRES_URL", "postgresql://127.0.0.1:9/db")
    (here / "cleanup.yaml").write_text(SETTINGS)
    assert not [line for line in found()["assumed"] if "budget" in line]
    monkeypatch.setenv("CLEANUP_BUDGET", "400")
    said = [line for line in found()["assumed"] if "budget" in line]
    assert said == ["all stores: the budget of 400 records a second is not simulated: it may take longer"]


def test_what_memory_holds_is_of_postgresql_alone(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANUP_POSTGRES_URL", "postgresql://127.0.0.1:9/db")
    monkeypatch.setenv("CLEANUP_REDIS_URL", "redis://127.0.0.1:9")
    cache = 'cache: {type: redis, url: "${CLEANUP_REDIS_URL}"}, '
    keys = 'keys: {store: cache, keys: "s:*", expires: {hash_field: exp}, mode: delete}, '
    (here / "cleanup.yaml").write_text(
        SETTINGS.replace("stores: {", f"stores: {{{cache}").replace("targets: {", f"targets: {{{keys}")
    )
    assert "keys is in redis" in fault("--memory", "keys=1GB")
    assert found("--memory", "web_sessions=1GB", "--memory", "2GB")["keeps_up"]


def test_passes_that_ran_say_what_the_next_ones_take(
    here: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANUP_POSTGRES_URL", postgres_url)
    (here / "cleanup.yaml").write_text(SETTINGS)
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("CREATE TABLE web (id int, expires_at timestamptz)")
        db.execute("INSERT INTO web SELECT n, now() - n * interval '1 s' FROM generate_series(1, 4000) n")
        db.execute("INSERT INTO web SELECT n, now() + interval '1 h' FROM generate_series(1, 1000) n")
        db.execute("ANALYZE web")
    unknown = found()
    assert len(unknown["assumed"]) == 4, "nothing was measured yet"
    assert run("run", "sessions").exit_code == 0

    known = found()
    assert known["verdict"] == "keeps up"
    assert [line for line in known["assumed"] if "batch costs" in line or "backlog" in line] == []
    assert known["targets"][0]["name"] == "web_sessions"
    # One pass tells nothing of what falls due.
    assert [line for line in known["assumed"] if "what falls due is unknown" in line]
    again = found("--once", "sessions", "--backlog", "400_000")
    assert (again["removed"], again["batches"], again["left"]) == (400_000, 4000, 0)
    assert again["seconds"] > again["deleting"] > 0
    cheap = found("--once", "sessions", "--backlog", "web_sessions=400000", "--batch-cost", "1ms")
    dear = found("--once", "sessions", "--backlog", "400000", "--batch-cost", "web_sessions=20ms")
    # Nine pauses of a twentieth as long beside it: pause_share is 1.
    assert dear["deleting"] > 10 * cheap["deleting"]
    assert found("--arrivals", "1/s", "--pause", "10ms")["due"] > 0
    ample = found("--once", "sessions", "--backlog", "400000", "--memory", "1TB")
    scarce = found("--once", "sessions", "--backlog", "400000", "--memory", "1MB")
    assert scarce["deleting"] > ample["deleting"]
    behind = found("--arrivals", "1,000,000/s", code=1)
    assert (behind["verdict"], behind["keeps_up"], behind["gone_at"]) == ("falls behind", False, None)

    text = run("simulate", "--arrivals", "5/s", "--chart")
    assert text.exit_code == 0
    assert text.stdout.startswith("keeps up: 1 target in 1 store\n")
    assert "▇" in text.stdout
    single = run("simulate", "--once", "sessions")
    assert single.stdout.startswith("sessions: ")
    assert "there is no target x" in fault("--arrivals", "x=1/s")
    assert "expected a rate such as 200/s" in fault("--arrivals", "fast")
    assert "expected a time such as 4ms" in fault("--batch-cost", "0")
    assert "expected a number of records" in fault("--backlog", "-5")
    assert "there is no pass nothing" in fault("--once", "nothing")
    assert "--pause" in fault("--pause", "1h")
    assert "expected a size such as 512MB" in fault("--memory", "much")


def test_a_scenario_file_needs_no_settings(here: Path) -> None:
    (here / "s.yaml").write_text(SCENARIO)
    document = found("s.yaml", "--for", "12h", code=1)
    assert document["verdict"] == "falls behind"
    assert document["end"] == 43_200
    assert found("s.yaml", "--pause", "1ms")["verdict"] == "keeps up"
    assert "1 fault" in fault("nothing.yaml")
    assert "change the scenario file" in fault("s.yaml", "--arrivals", "1/s")
    assert list(here.iterdir()) == [here / "s.yaml"], "it left something behind"


def test_it_recommends_the_longest_pause_that_does(here: Path) -> None:
    (here / "s.yaml").write_text(SCENARIO)
    document = found("s.yaml", "--for", "12h", "--recommend", code=1)
    chosen = document["recommended"]
    # 3.6 million an hour and five minutes for them: 12,000 records a second.
    assert chosen["keeps_up"]
    assert chosen["workers"] == 1
    for size in SIZES:
        (choice,) = [each for each in document["choices"] if (each["workers"], each["batch_size"]) == (1, size)]
        # 250 at once: a latency of 1.25 ms and as much rest, what the cleaner itself needs, and its part of the pause.
        fast_enough = [pause for pause in PAUSES if 250 / (0.0025 + OWN + pause * 250 / size) > 12_000]
        assert choice["pause"] == fast_enough[0]
    assert "\nSet pause: 50ms, batch_size: 1000, parallel: 1\n" in run("simulate", "s.yaml", "--recommend").stdout


def test_nothing_that_does_is_said() -> None:
    hopeless = scenario(target(of=batching(0.01), rate=1e7), passes=[PassModel("p", retries=0)], days=0.5)
    tried = list(choices(hopeless))
    assert [each.pause for each in tried] == [None] * len(tried)
    assert best(tried) is None
    assert advice(hopeless, None).startswith("None of these keeps up")


def test_it_fits_a_terminal() -> None:
    several = [
        target(
            f"a_rather_long_name_{number:04d}",
            batching(0.5),
            backlog=1e9,
            oldest=4e8,
            rate=3e3 * number,
        )
        for number in range(12)
    ]
    wide = scenario(*several, executor=Executor(Kind.CELERY, 3), days=1.0, assumed=tuple(map(str, range(20))))
    outcome = simulate(wide)
    out = Console(width=80, file=StringIO())
    show(out, wide, outcome, chart=True)
    show_choices(out, wide, list(choices(scenario(several[1], days=0.2))))
    show_once(out, wide, "p", simulate_once(wide, "p"))
    lines = str(out.file.getvalue()).splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    assert any("and 4 targets that are better off" in line for line in lines)
    assert any("a_rather_long_name_0011" in line for line in lines), "the worst comes first"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (90, "1 m 30 s"), (3661, "1 h 1 m"), (90_000, "1 d 1 h"), (1e8, "1,157 d")],
)
def test_lengths(seconds: float, words: str) -> None:
    assert length(seconds) == words


@pytest.mark.parametrize(("count", "words"), [(0, "0"), (9999, "9,999"), (12_345, "12.3k"), (2e6, "2M"), (1e10, "10B")])
def test_short_numbers(count: float, words: str) -> None:
    assert short(count) == words
