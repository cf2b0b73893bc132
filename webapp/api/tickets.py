"""Tickets: what a page puts in an address where it cannot set a header."""

import time

import msgspec
from flask import Blueprint, Response

from webapp.http.auth import InvalidTicket
from webapp.http.context import Web, web
from webapp.http.operation import Operation
from webapp.http.requests import answer, bearer

TICKET_SECONDS = 30

blueprint = Blueprint("tickets", __name__, url_prefix="/api")


class Ticket(msgspec.Struct, kw_only=True, frozen=True):
    """A ticket, and for how many seconds it is valid. It can be used once."""

    ticket: str
    expires_in: int


@Operation("Get a ticket, to open one event stream or socket with", {201: Ticket})
@blueprint.post("/tickets")
def create_ticket() -> Response:
    """A ticket that stands for the token of this request once, and not for longer than it lasts."""
    process, token = web(), bearer()
    _, until = process.tokens.verify_until(token)
    seconds = max(1, min(TICKET_SECONDS, int(until - time.time())))
    ticket = process.services.tiers.tickets.issue(token.encode(), seconds)
    return answer(Ticket(ticket=ticket, expires_in=seconds), 201)


def redeemed(process: Web, ticket: str) -> str:
    """The token that a ticket stands for, which is used up by this. Raises `InvalidTicket`."""
    token = process.services.tiers.tickets.redeem(ticket)
    if token is None:
        raise InvalidTicket("the ticket is not known, used or too old: get one at /api/tickets")
    return token.decode()
