"""Where a framework has an index on what says when a record dies, our statements go along it: on a few thousand rows,
by the planner's own choice. Where it has none, the plan says so."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pymongo
import pytest
from bson import json_util
from psycopg import sql

from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.target import CollectionSource, FieldExpiry
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.mongo.showing import shown
from cleanup_pipeline.stores.postgres import PostgresStore, open_postgres
from cleanup_pipeline.stores.postgres.relation import Relation, inspect
from cleanup_pipeline.stores.postgres.showing import predicate_of, walk_query
from tests.layouts.case import Case, case_names, read_case, targets_for
from tests.layouts.filled import EXPIRED, fill
from tests.layouts.key_places import MongoPlace
from tests.layouts.keys_case import read_key_case

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


def _with_ttl_index() -> list[str]:
    return [
        preset.name
        for preset in layouts().values()
        if any(isinstance(step.expiry, FieldExpiry) and step.expiry.ttl_index for step in preset.every_layout())
    ]


@pytest.mark.parametrize("name", _with_ttl_index())
def test_the_ttl_index_of_a_framework_is_used_and_asked_for(name: str, mongo_url: str) -> None:
    case = read_key_case(StoreType.MONGO, name, datetime.now(UTC).replace(microsecond=0))
    place, targets = MongoPlace(mongo_url), targets_for(layouts()[name], case.params, case.columns)
    place.write(case, targets)
    with pymongo.MongoClient[dict[str, Any]](mongo_url) as client:
        for target in targets:
            source, expiry = target.source, target.expiry
            assert isinstance(source, CollectionSource) and isinstance(expiry, FieldExpiry) and expiry.ttl_index
            after = int(target.grace.total_seconds())
            asked = f'createIndex({{"{expiry.field}": 1}}, {{expireAfterSeconds: {after}}})'
            store = place.open()
            assert any(asked in finding.remedy for finding in store.preflight(target)), (
                "with the framework's own offset"
            )
            store.close()
            database = client[source.database] if source.database else client.get_default_database()
            # Fifty years on, so that the server leaves the records to us.
            database[source.collection].create_index(expiry.field, expireAfterSeconds=1_500_000_000)
            store = place.open()
            cutoff = store.clock() - target.grace
            work = store.plan(target, cutoff, store.census(target, cutoff, target.census_timeout))
            store.close()
            assert work.strategy == "index_walk", work.why
            (_, found), _ = shown(target, cutoff)
            query = {**json_util.loads(found), "sort": {expiry.field: 1}, "hint": f"{expiry.field}_1"}
            plan = json_util.dumps(database.command({"explain": query, "verbosity": "queryPlanner"}))
            assert '"stage": "IXSCAN"' in plan and f'"indexName": "{expiry.field}_1"' in plan, plan


METEOR = {
    "login": ("services.resume.loginTokens.when", "array_pull", "elements of services.resume.loginTokens are pulled"),
    "reset": ("services.password.reset.when", "id_sweep", "services.password.reset.when is a date or a number"),
    "enroll": ("services.password.enroll.when", "id_sweep", "services.password.enroll.when is a date or a number"),
    "older_enroll": ("services.password.reset.when", "id_sweep", "services.password.reset.when is a date or a number"),
}
"""Its sparse indexes (accounts_server.js), and why no step goes along one: tokens lie in arrays, or older versions
wrote a number where newer ones write a date, and an index keeps the two apart."""


def test_meteor_is_the_one_whose_indexes_are_not_used_and_the_plan_says_why(mongo_url: str) -> None:
    case = read_key_case(StoreType.MONGO, "meteor-login-tokens", datetime.now(UTC).replace(microsecond=0))
    place, targets = MongoPlace(mongo_url), targets_for(layouts()["meteor-login-tokens"], case.params, case.columns)
    place.write(case, targets)
    with pymongo.MongoClient[dict[str, Any]](mongo_url) as client:
        for field in {field for field, _, _ in METEOR.values()}:
            client.get_default_database()["users"].create_index(field, sparse=True)
    seen = {}
    store = place.open()
    for target in targets:
        assert isinstance(target.expiry, FieldExpiry)
        cutoff = store.clock()
        work = store.plan(target, cutoff, store.census(target, cutoff, target.census_timeout))
        seen[target.name.removeprefix("t_")] = (target.expiry.field, work.strategy, work.why.split(",")[0])
        # A sparse index has every document that has the field: where it is of one type, it is walked.
        dated = replace(target, name=f"dated_{target.name}", expiry=replace(target.expiry, or_unit=None))
        work = store.plan(dated, cutoff, store.census(dated, cutoff, dated.census_timeout))
        assert target.expiry.pull or work.why == f"index {target.expiry.field}_1, oldest first"
    store.close()
    assert seen == METEOR
