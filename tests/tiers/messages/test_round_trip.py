"""Any text and any metadata of the contract, from the door through all three tiers, byte for byte.

Each example is a batch, posted through the web application and carried on step by step.
"""

from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from models import codec
from models.message import Message
from storage.clickhouse.pages import Selection, archived_messages
from support.data.samples import AWKWARD_TEXTS, METADATA, TEXTS
from support.data.users import fresh_user
from webapp.app import create_app
from webapp.http.auth import Tokens
from wiring.process import Services

BATCHES = st.lists(st.tuples(TEXTS, METADATA), min_size=1, max_size=12)


@pytest.fixture(scope="package")
def client(lone_services: Services) -> FlaskClient:
    """The web application on the same servers, with no worker behind it."""
    return create_app(lone_services.settings).test_client()


def post(
    client: FlaskClient, services: Services, user: str, batch: list[tuple[str, Any]]
) -> list[Message]:
    """Posts a batch; gives the messages as acknowledged."""
    items = [{"thread_id": "t", "message": text, "metadata": more} for text, more in batch]
    token = Tokens(services.settings).issue(user, is_admin=False, ttl_seconds=60)
    reply = client.post(
        "/api/messages:batch",
        data=msgspec.json.encode({"messages": items}),
        headers={"Authorization": f"Bearer {token}"},
    )
    assert reply.status_code == 200, reply.data
    results = msgspec.json.decode(reply.data)["results"]
    return [msgspec.convert(result["message"], Message) for result in results]


def check(found: Message | None, sent: Message) -> None:
    """One copy in one tier against what was acknowledged."""
    assert found is not None
    assert found == sent
    assert found.content.encode() == sent.content.encode()
    assert codec.is_intact(found)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batch=BATCHES)
@example(batch=[(text, {text: [text, {text: text}]}) for text in AWKWARD_TEXTS])
@example(batch=[("x" * 65_536, {}), ("\N{GRINNING FACE}" * 16_384, {"a": "\u20ac" * 5_000})])
@example(batch=[("n", {"n": [1e22, -0.0, 5e-324, 1.5, 2**63, -(2**63), 2**64 - 1, 1e-7]})])
def test_text_and_metadata_survive_every_tier(
    client: FlaskClient, lone_services: Services, batch: list[tuple[str, Any]]
) -> None:
    services, user = lone_services, fresh_user()
    sent = post(client, services, user, batch)
    assert [one.content for one in sent] == [text for text, _ in batch]
    assert [one.metadata for one in sent] == [more for _, more in batch]
    for one in sent:
        record = services.tiers.redis.message(one.id)
        assert record is not None
        check(codec.decode(record), one)
    services.jobs.persistence.drain_all(range(services.settings.shards))
    for one in sent:
        row = services.tiers.postgres.message(user, one.id)
        check(row[0] if row else None, one)
    services.jobs.replication.ship_all()
    copies = {
        one.id: one for one in archived_messages(services.tiers.job_clickhouse, Selection(user))
    }
    for one in sent:
        check(copies.get(one.id), one)
    copy = services.tiers.clickhouse.message(user, sent[-1].id)
    check(copy[0] if copy else None, sent[-1])
