"""Where a framework has an index on what says when a record dies, our statements go along it: on a few thousand rows,
by the planner's own choice. Where it has none, the plan says so."""

from typing import Any

import psycopg
import pytest
from psycopg import sql

from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.postgres import PostgresStore, open_postgres
from cleanup_pipeline.stores.postgres.relation import Relation, inspect
from cleanup_pipeline.stores.postgres.showing import predicate_of, walk_query
from tests.layouts.case import Case, case_names, read_case, targets_for
from tests.layouts.filled import EXPIRED, fill

Db = psycopg.Connection[Any]


@pytest.mark.parametrize("name", [name for name in case_names() if "INDEX" in read_case(name).ddl])
def test_the_index_that_the_framework_has_is_used(name: str, postgres_url: str) -> None:
    case = read_case(name)
    store = open_postgres(StoreConfig("main", StoreType.POSTGRES, postgres_url))
    try:
        with psycopg.connect(postgres_url, autocommit=True) as db:
            db.execute(case.ddl)  # type: ignore[call-overload]
            assert _walks(case, store, db) == set(case.walks)
    finally:
        store.close()


def _walks(case: Case, store: PostgresStore, db: Db) -> set[str]:
    """The steps for which there is such an index. Each is tried."""
    found, filled = set[str](), set[str]()
    for target in targets_for(layouts()[case.preset], case.params, case.columns):
        with store._connections.use(target) as connection:
            relation = inspect(connection, target, store._zone)
        told = " ".join(finding.what for finding in relation.findings)
        if relation.index is None:
            assert "no index" in told
            continue
        found.add(target.name.removeprefix("t_") if target.name != "t" else "")
        if relation.name in filled:
            db.execute(sql.SQL("TRUNCATE {} CASCADE").format(relation.identifier))
        filled.add(relation.name)
        fill(db, target, relation)
        plan = _plan(store, target, relation, db)
        index = relation.index.split(".")[-1].replace('"', "")
        plan = plan.replace('"', "")
        assert index in plan and "Index Cond" in plan and "Seq Scan" not in plan, plan
        if not target.guards:
            # In its order, too. Where a guard lets few rows through, sorting those costs less.
            assert f"using {index}" in plan and "Sort" not in plan, plan
        census = store.census(target, store.clock() - target.grace, target.census_timeout)
        assert census.expired in {EXPIRED - 1, EXPIRED}, "what was filled in is not what the planner was asked about"
    return found


def _plan(store: PostgresStore, target: Any, relation: Relation, db: Db) -> str:
    predicate = predicate_of(target, relation.shape, store.clock() - target.grace)
    query = sql.SQL("EXPLAIN {}").format(walk_query(predicate, relation.identifier))
    return "\n".join(row[0] for row in db.execute(query, {**predicate.parameters, "size": 1000}))


def test_what_the_research_lists_is_listed() -> None:
    """Frameworks that come with an index on expiry; of Logto's the expiry is the second column, so it serves nobody."""
    with_index = """
        django-sessions django-db-cache connect-pg-simple laravel-sessions laravel-cache rails-ar-sessions
        spring-session-jdbc symfony-pdo-sessions supertokens identityserver supabase-auth keycloak allauth-idp-tokens
        fastapi-users scs-postgres ory-hydra"""
    assert {name for name in case_names() if read_case(name).walks} == set(with_index.split())
