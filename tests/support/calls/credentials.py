"""What a web process verifies credentials with, and what is written down of them."""

from typing import Any

import pytest

from webapp.http.auth import Tokens
from webapp.identity.caller import InvalidToken
from wiring.process import Services

ADMIN = "test:admin"


def tokens_of(own: Services) -> Tokens:
    """What a web process verifies with."""
    made = Tokens(own.settings, own.tiers.credentials)
    own.tiers.credentials.on_change.append(made.forget)
    own.tiers.credentials.refresh()
    return made


def refused(tokens: Tokens, token: str, **options: Any) -> None:
    with pytest.raises(InvalidToken):
        tokens.verify_until(token, **options)


def audited(alone: Services, action: str, subject: str) -> list[Any]:
    entries = alone.jobs.audit.entries(action=action, actor=ADMIN, limit=100)
    return [one for one in entries if one.subject == subject]
