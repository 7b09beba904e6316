"""Options of a store that are one backend's own."""

import pytest

from .conftest import STORES, Faults, Load


@pytest.mark.parametrize(("written", "meant"), [("majority", "majority"), ("2", "2"), ("myZones", "myZones")])
def test_write_concern_and_read_preference(load: Load, written: str, meant: str) -> None:
    options = f"write_concern: {written}, read_preference: secondaryPreferred"
    store = load("", stores=STORES.replace("type: mongo,", f"type: mongo, {options},")).stores["docs"]
    assert (store.write_concern, store.read_preference) == (meant, "secondaryPreferred")
    assert load("").stores["docs"].read_preference == "primary"


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        (
            "type: mongo,",
            "type: mongo, write_concern: 0,",
            "docs.write_concern",
            "expected majority, a number of members",
        ),
        ("type: mongo,", "type: mongo, write_concern: true,", "docs.write_concern", "expected majority"),
        (
            "type: mongo,",
            "type: mongo, read_preference: slave,",
            "docs.read_preference",
            "expected primary, primaryPref",
        ),
        (
            "type: redis,",
            "type: redis, write_concern: 1,",
            "cache.write_concern",
            "no write_concern, which is for MongoDB",
        ),
    ],
)
def test_wrong_ones(faults: Faults, old: str, new: str, path: str, message: str) -> None:
    found = faults("", stores=STORES.replace(old, new))
    assert message in str(found[f"stores.{path}"])


@pytest.mark.parametrize("scheme", ["redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel"])
def test_clusters_and_sentinels_have_schemes_of_their_own(load: Load, scheme: str) -> None:
    url = f"{scheme}://:${{CACHE_PASSWORD}}@a.example,b.example:26379/main/0"
    stores = f"stores: {{cache: {{type: redis, url: '{url}'}}}}\n"
    assert load("", {"CACHE_PASSWORD": "pw"}, stores=stores).stores["cache"].url.startswith(f"{scheme}://:pw@")
