"""Who calls, and how each request says so."""

from dataclasses import replace
from urllib.parse import quote

from threadkeep_client.core.effects import Flow, NewToken, Request, TokenProvider

Token = str | TokenProvider


class Identity:
    """A token or an API key, and the user whom the key acts for.

    `token` is the text, or a function that gives one: it is called before the first request, and
    again when the server has refused what it gave.
    """

    def __init__(self, token: Token, on_behalf_of: str | None = None) -> None:
        self._given = token
        self._text = token if isinstance(token, str) else None
        self._on_behalf_of = on_behalf_of

    def acting_for(self, user_id: str) -> "Identity":
        """The same token or key, acting for a user."""
        return Identity(self._given, user_id)

    def signed(self, request: Request) -> Flow[Request]:
        """The request with the headers that say who calls."""
        if self._text is None and not isinstance(self._given, str):
            self._text = yield NewToken(self._given)
        headers = {**request.headers, "Authorization": f"Bearer {self._text}"}
        if self._on_behalf_of is not None:
            headers["Threadkeep-User"] = quote(self._on_behalf_of, safe="")
        return replace(request, headers=headers)

    def forget(self) -> bool:
        """Has the next request ask for a new token; whether anybody can be asked."""
        if isinstance(self._given, str):
            return False
        self._text = None
        return True
