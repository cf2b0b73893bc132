"""Who is calling, and what is wrong with a credential."""

from typing import NamedTuple


class Caller(NamedTuple):
    """An authenticated user. `scopes` are None for a token, which may do all that its user may.

    `token_id` and `issued_at`, the token's `jti` and `iat`, are what it can be revoked by; `key_id`
    and `key_name` are of the API key, if it is one that acts.
    """

    user_id: str
    is_admin: bool
    scopes: frozenset[str] | None = None
    token_id: str = ""
    issued_at: float = 0.0
    key_id: str = ""
    key_name: str = ""

    @property
    def actor(self) -> str:
        """Who acts, for the audit trail, by its kind: no user is taken for an operator of the
        command line, for a key or for the system, whatever a token calls them."""
        own = f"user:{self.user_id}"
        return f"key:{self.key_id} as {self.user_id}" if self.key_id else own


class InvalidToken(Exception):
    """The token is missing, wrong or expired; the text says which. `reason` is a word for logs,
    which must not have what a token says of itself."""

    def __init__(self, detail: str, reason: str = "invalid_token") -> None:
        super().__init__(detail)
        self.reason = reason


class InvalidTicket(InvalidToken):
    """The ticket in the address is wrong; the text is for a person."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, "invalid_ticket")


class NotAllowed(InvalidToken):
    """The credential is a good one that may not do this; `code` is stable."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail, code)
        self.code = code


class AskElsewhere(InvalidToken):
    """Whether the credential is good cannot be said without asking somebody."""
