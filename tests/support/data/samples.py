"""Messages to test with: plain ones, and text that has broken stores before."""

from typing import Any

from hypothesis import strategies as st

from models import codec, ids
from models.appends import Append, NewMessage
from models.message import Message

CLOCK = ids.Clock()

AWKWARD_TEXTS = (
    "\N{WAVING HAND SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4} \N{MAN}\u200d\N{WOMAN}\u200d\N{BOY}",
    "e\u0301 is not \u00e9, \u1e9b\u0323 is neither",
    "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "line\u2028paragraph\u2029next\x85vertical\x0bform\x0c",
    "carriage\r\nreturn\r alone\n",
    "back\\slash \\N \\n \\t \\0 \\x00 \\u0000 \\",
    "'single' \"double\" `back` ''two'' '\\''",
    "\ttab\t and trailing space ",
    "\\N",
    "NULL",
    '{"looks": "like", "json": [1, 2.50, null]}',
    "%s %(x)s %% :name {name:String} $1 ?",
    "a;b\n\n;\nDROP TABLE messages;\n-- comment /*",
    "$tag$ text $tag$",
    "\x01\x02\x1a\x1b\x7f",
    "\ufeffbyte order mark \ufffd \ufffe \uffff",
    "\U0010ffff\U00010000\ud7ff\ue000",
    "<script>alert(1)</script>&amp;",
    " ",
    "0",
)

TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=200
) | st.sampled_from(AWKWARD_TEXTS)
"""Any text of the contract: every Unicode scalar value but U+0000."""

METADATA = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)
"""Any metadata of the contract, small enough to be many."""


def message(user_id: str, thread_id: str = "t", content: str = "hello", **fields: Any) -> Message:
    """A sealed first version, newer than every one made before in this process."""
    time_us = fields.pop("time_us", None) or CLOCK.now_us()
    moment = ids.timestamp(time_us)
    values: dict[str, Any] = {
        "version": 1,
        "id": ids.mint(time_us, ids.shard_of(user_id, thread_id)),
        "thread_id": thread_id,
        "user_id": user_id,
        "role": "user",
        "content": content,
        "metadata": {},
        "created_at": moment,
        "updated_at": moment,
    }
    return codec.seal(Message(**values | fields))


def revised(before: Message, *, version: int | None = None, deleted: bool = False) -> Message:
    """A later version: an edit that names its number, or a tombstone."""
    number = before.version + 1 if version is None else version
    moment = ids.timestamp(ids.time_us_of(before.id) + number)
    fields = {name: getattr(before, name) for name in Message.__struct_fields__}
    fields |= {"version": number, "updated_at": moment, "content": f"version {number}"}
    if deleted:
        fields |= {"content": "", "metadata": {}, "deleted_at": moment}
    return codec.seal(Message(**fields))


def append_of(*messages: Message, key: str | None = None) -> Append:
    """What the Redis tier takes for new messages of one thread."""
    first = messages[0]
    entries = [NewMessage(one.id, codec.encode(one), key) for one in messages]
    return Append(first.user_id, first.thread_id, entries)
