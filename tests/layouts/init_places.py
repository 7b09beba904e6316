"""What `init` sees in a store: a survey and what is recognised in it, without the command around it."""

from collections.abc import Sequence
from dataclasses import dataclass

from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.layouts.guess_keys import described
from cleanup_pipeline.layouts.match import Described, Recognised
from cleanup_pipeline.layouts.recognise import asked_for, recognise
from cleanup_pipeline.layouts.strangers import Stranger, strangers
from cleanup_pipeline.model.store_config import StoreConfig
from cleanup_pipeline.model.words import StoreType
from cleanup_pipeline.stores.base import Surveys
from cleanup_pipeline.stores.open import open_store


@dataclass(frozen=True)
class Seen:
    found: Sequence[Recognised]
    described: Sequence[Described]
    strangers: Sequence[Stranger]

    @property
    def names(self) -> set[str]:
        return {each.preset.name for each in self.found}

    def one(self, name: str) -> Recognised:
        [found] = [each for each in self.found if each.preset.name == name]
        return found


def look(store_type: StoreType, url: str) -> Seen:
    presets = list(layouts().values())
    store = open_store(StoreConfig("main", store_type, url))
    try:
        assert isinstance(store, Surveys)
        survey = store.survey(asked_for(presets, store_type))
    finally:
        store.close()
    found = recognise(presets, store_type, survey)
    own = described(survey, found)
    return Seen(found, own, strangers(survey, found, own))
