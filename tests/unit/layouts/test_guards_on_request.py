"""A guard about a table that only some applications have is there when its parameter asks for it."""

import pytest

from cleanup_pipeline.layouts import layouts
from cleanup_pipeline.model.rules import RowGuard


@pytest.mark.parametrize(("oauth_provider", "tables"), [(False, []), (True, ["oauthAccessToken"])])
def test_of_better_auth(oauth_provider: bool, tables: list[str]) -> None:
    preset = layouts()["better-auth"]
    given = preset.params_model.model_validate({"oauth_provider": oauth_provider})
    (sessions,) = [layout for layout in preset.resolve(given) if layout.step == "sessions"]
    assert [guard.of.table for guard in sessions.guards if isinstance(guard, RowGuard)] == tables
