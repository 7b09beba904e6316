"""Documents that are planted: within the guards of a target, and where none can be planted."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cleanup_pipeline.engine.canaries import wanted
from cleanup_pipeline.model.canary import CanaryKind, CanarySettings
from cleanup_pipeline.model.rules import FieldGuard, FieldTest
from cleanup_pipeline.model.target import Target
from cleanup_pipeline.model.words import EpochUnit
from cleanup_pipeline.stores.base import StoreError
from cleanup_pipeline.stores.mongo import MongoStore
from tests.stores.mongo.conftest import Db, make_target

HOUR = timedelta(hours=1)
ALL = frozenset(CanaryKind)


def planted(store: MongoStore, db: Db, target: Target) -> frozenset[CanaryKind]:
    of = replace(target, grace=HOUR, canaries=target.canaries or CanarySettings())
    cutoff = store.clock() - HOUR
    here = store.canaries(of)
    several = here.make(wanted(CanarySettings(), cutoff, None, HOUR, datetime.now(UTC)))
    here.plant(several, cutoff)
    there = here.present(several)
    here.remove(several)
    assert db["c"].count_documents({}) == 0
    return frozenset(each.kind for each in several if each.mark in there)


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({}, ALL),
        ({"unit": EpochUnit.SECONDS}, ALL),
        ({"or_unit": EpochUnit.MILLISECONDS}, ALL),
        ({"field": "a.b", "lifetime": timedelta(days=1)}, ALL),
        ({"where": {"kind": "x"}, "required": ("token", "user.id")}, ALL),
        ({"types": (("e", ("date",)), ("n", ("int", "long")))}, ALL - {"without_expiry", "unparsable"}),
        (
            {
                "guards": (
                    FieldGuard("k", FieldTest.IN, ("a", "b")),
                    FieldGuard("x.y", FieldTest.EXISTS),
                    FieldGuard("gone", FieldTest.MISSING),
                    FieldGuard("s", FieldTest.LACKS, ("-",)),
                    FieldGuard("n", FieldTest.AT_LEAST, (3,)),
                )
            },
            ALL,
        ),
    ],
)
def test_documents_are_made_to_fit(store: MongoStore, db: Db, changes: dict[str, Any], kinds: frozenset[Any]) -> None:
    db["c"].create_index("token", unique=True)
    assert planted(store, db, make_target(**changes)) == kinds


def test_where_none_can_be_planted(store: MongoStore, db: Db) -> None:
    [finding] = store.canaries(make_target("a.e", pull="a", canaries=CanarySettings())).refusals()
    assert "removes parts of one" in finding.what
    values = CanarySettings(values={"k": "other"})
    with pytest.raises(StoreError, match="rule and guards do not take a planted document"):
        planted(store, db, make_target(where={"k": "x"}, canaries=values))


def test_a_ttl_index_leaves_nothing_to_prove_about_the_dead(store: MongoStore, db: Db) -> None:
    db["c"].create_index("e", expireAfterSeconds=0)
    target = make_target(canaries=CanarySettings())
    [finding] = store.canaries(target).refusals()
    assert "canaries (expired and grace) are not planted" in finding.what
    of = store.canaries(target)
    several = of.make(wanted(CanarySettings(), store.clock(), None, HOUR, datetime.now(UTC)))
    assert {each.kind for each in several} == {CanaryKind.LIVE, CanaryKind.WITHOUT_EXPIRY, CanaryKind.UNPARSABLE}
