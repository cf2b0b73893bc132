"""The three tiers, and what a request does with them."""

import sys

# structlog loads rich for tracebacks on terminals, where ours are JSON. `import` is told that there
# is none, as long as this takes.
_is_loaded = sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
import structlog  # noqa: E402, F401

if _is_loaded is None:
    del sys.modules["rich"]
