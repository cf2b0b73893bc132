"""Tickets: what a page puts in an address where it cannot set a header."""

import time

import msgspec
from flask import Blueprint, Response, request

from webapp.http.context import Web, web
from webapp.http.operation import Operation
from webapp.http.requests import answer, bearer, on_behalf_of
from webapp.identity.caller import InvalidTicket

TICKET_SECONDS = 30
IDENTITY = ("HTTP_AUTHORIZATION", "HTTP_THREADKEEP_USER")
"""The headers of a request that say who calls, as its environment has them."""

blueprint = Blueprint("tickets", __name__, url_prefix="/api")


class Ticket(msgspec.Struct, kw_only=True, frozen=True):
    """A ticket, and for how many seconds it is valid. It can be used once."""

    ticket: str
    expires_in: int


@Operation("Get a ticket, to open one event stream or socket with", {201: Ticket})
@blueprint.post("/tickets")
def create_ticket() -> Response:
    """A ticket that stands for the token of this request once, and not for longer than it lasts."""
    process, environ = web(), request.environ
    _, until = process.tokens.verify_until(bearer(), on_behalf_of())
    # A key may be without an end.
    seconds = max(1, int(min(TICKET_SECONDS, until - time.time())))
    identity = {name: environ[name] for name in IDENTITY if name in environ}
    ticket = process.services.tiers.tickets.issue(msgspec.json.encode(identity), seconds)
    return answer(Ticket(ticket=ticket, expires_in=seconds), 201)


def redeemed(process: Web, ticket: str) -> dict[str, str]:
    """The headers that a ticket stands for, as in the environment of a request. It is used up by
    this. Raises `InvalidTicket`."""
    identity = process.services.tiers.tickets.redeem(ticket)
    if identity is None:
        raise InvalidTicket("the ticket is not known, used or too old: get one at /api/tickets")
    return msgspec.json.decode(identity, type=dict[str, str])
