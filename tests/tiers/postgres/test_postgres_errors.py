"""What PostgreSQL says of a value is never told on: its words quote it."""

import pytest
from sqlalchemy import text

from storage.errors import TierRejected
from storage.postgres.driver import translated
from wiring.process import Services

SECRET = "what somebody wrote"
_KINDS = ("timestamptz", "uuid", "integer", "jsonb", "boolean", "interval")


@pytest.mark.parametrize("kind", _KINDS)
def test_a_value_of_a_wrong_form_is_not_quoted(alone: Services, kind: str) -> None:
    statement = text(f"SELECT CAST(:value AS {kind})")
    with (
        pytest.raises(TierRejected) as refused,
        translated(),
        alone.tiers.request_engine.connect() as link,
    ):
        link.execute(statement, {"value": SECRET})
    assert refused.value.reason.startswith("22")
    assert SECRET not in str(refused.value)


def test_a_column_and_its_table_are_named(alone: Services) -> None:
    statement = text("INSERT INTO threads (id, user_id, title) VALUES (NULL, :value, :value)")
    with (
        pytest.raises(TierRejected) as refused,
        translated(),
        alone.tiers.request_engine.begin() as link,
    ):
        link.execute(statement, {"value": SECRET})
    assert 'column "' in refused.value.reason
    assert "threads" in refused.value.reason
    assert SECRET not in refused.value.reason


@pytest.mark.parametrize("value", [f"{SECRET}\0", SECRET + "\ud800"])
def test_what_cannot_even_be_sent_is_not_quoted(alone: Services, value: str) -> None:
    with (
        pytest.raises((TierRejected, ValueError)) as refused,
        translated(),
        alone.tiers.request_engine.connect() as link,
    ):
        link.execute(text("SELECT :value"), {"value": value})
    assert SECRET not in str(refused.value)
