"""What no statement may do: reach files, the network or programs, whoever sends it.

chDB is made for one user at a command line, who may read every file of the account: it has no
rights to take away. So statements are looked at, token by token, before it sees them. What it may
do is listed, what reaches out of the data folder is not on the list, and what cannot be read with
certainty is refused.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from embedded.clickhouse_sql import SqlRefused, tokens

ACCESS_DENIED = 497
READONLY = 164
SYNTAX_ERROR = 62


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Of all table functions, those that make rows or read this server's own tables. `format` is none
# of them: it takes rows as a text, in which its format `Values` finds expressions.
_ALLOWED_TABLE_FUNCTIONS = _names(
    "GENERATE_SERIES GENERATERANDOM GENERATESERIES MERGE NULL NUMBERS NUMBERS_MT PRIMES VALUES VIEW"
    " ZEROS ZEROS_MT"
)
_REACHING_FUNCTIONS = _names("FILE CATBOOSTEVALUATE DISK")
_ALLOWED_ENGINES = _names(
    "AGGREGATINGMERGETREE ATOMIC COALESCINGMERGETREE COLLAPSINGMERGETREE LOG MEMORY MERGETREE NULL"
    " REPLACINGMERGETREE STRIPELOG SUMMINGMERGETREE TINYLOG VERSIONEDCOLLAPSINGMERGETREE"
)
_FILES = (("INTO", "OUTFILE"), ("FROM", "INFILE"))
# A setting may name a file, hold SQL of its own, or have the statement read as another language.
_REACHING_SETTINGS = re.compile(
    r"additional_(table_filters|result_filter)|.*dialect|(output_)?format_schema(_source)?"
    r"|format_template_(row|resultset)|format_avro_schema_registry_url|filter|url_base"
    r"|input_format_record_errors_file_path|parallel_replicas_custom_key"
    r"|rename_files_after_processing|(table_)?disk|storage_policy|dynamic_disk_\w+"
    r"|(allow_experimental_)?ai_\w+|allow_experimental_eval_table_function|readonly"
)

_READING = _names("SELECT WITH SHOW DESCRIBE DESC EXISTS EXPLAIN CHECK")
_WRITING = _names("INSERT CREATE ALTER DROP TRUNCATE RENAME EXCHANGE OPTIMIZE DELETE UPDATE SYSTEM")
_OBJECTS = _names("TABLE VIEW DATABASE")
_BEFORE_OBJECTS = _names("OR REPLACE TEMPORARY MATERIALIZED")
_SYSTEM = (["STOP", "MERGES"], ["START", "MERGES"])
# Outside quotes nothing but these is part of SQL as this server reads it: no quote without an
# end, no space of another alphabet that ClickHouse would pass over and this would not.
_PLAIN_MARK = re.compile(rb"[-+*/%<>=!|&^~?:;.,()\[\]{}@]")


@dataclass(frozen=True)
class Rules:
    """The rules of one server, which knows its own table functions."""

    refused_calls: frozenset[str]

    def check(self, text: bytes, *, read_only: bool = False) -> None:
        """Refuse a statement that may not run. Raises `SqlRefused`."""
        found = list(_read(text))
        words = [name for kind, name in found if kind == "word"]
        _check_kind(words, read_only)
        self._check_names(found)
        if words[0] == "CREATE":
            _check_engines(found)

    def check_values(self, data: bytes) -> None:
        """Refuse rows of the format `Values`, which are expressions. Raises `SqlRefused`."""
        self._check_names(list(_read(data)))

    def _check_names(self, found: list[tuple[str, str]]) -> None:
        following = [name for _, name in found[1:]] + [""]
        before, earlier = "", ""
        for (kind, name), after in zip(found, following, strict=False):
            if kind in {"word", "name"}:
                # A function is named without a call in one place: `* APPLY f`, `* APPLY(f)`.
                is_applied = before == "APPLY" or (before, earlier) == ("(", "APPLY")
                if (after == "(" or is_applied) and name in self.refused_calls:
                    raise _denied(name)
                if after == "=" and _REACHING_SETTINGS.fullmatch(name.lower()):
                    raise _denied(name)
                if (before, name) in _FILES:
                    raise _denied(name)
            before, earlier = name, before


def rules(table_functions: Iterable[str], functions: Iterable[str]) -> Rules:
    """Make the rules for a server that has these functions, in whatever case."""
    refused = {name.upper() for name in table_functions} - _ALLOWED_TABLE_FUNCTIONS
    # What asks a language model sends text away.
    asking = {name.upper() for name in functions if name.upper().startswith("AI")}
    return Rules(frozenset(refused | asking | _REACHING_FUNCTIONS))


def check_setting(name: str) -> None:
    """Refuse a setting of a request's address that reaches out. Raises `SqlRefused`."""
    if _REACHING_SETTINGS.fullmatch(name.lower()):
        raise _denied(name)


def _check_kind(words: list[str], read_only: bool) -> None:
    first = words[0] if words else ""
    if first not in _READING | _WRITING:
        raise SqlRefused(SYNTAX_ERROR, "Syntax error, or no statement that this server runs")
    if read_only and (first in _WRITING or "INSERT" in words):
        raise SqlRefused(READONLY, "Only POST may write")
    if first in {"CREATE", "DROP", "ALTER"}:
        objects = (word for word in words[1:] if word not in _BEFORE_OBJECTS)
        if (kind := next(objects, "")) not in _OBJECTS:
            raise _denied(f"{first} {kind}")
    if first == "SYSTEM" and words[1:3] not in _SYSTEM:
        raise _denied(first)


def _check_engines(found: list[tuple[str, str]]) -> None:
    """Refuse an engine of tables or databases that is not on the list, with or without its `=`."""
    depth = 0
    names = [name for _, name in found]
    for at, (kind, name) in enumerate(found):
        if kind == "mark":
            depth += (name in "([{") - (name in ")]}")
        elif (kind, name, depth) == ("word", "ENGINE", 0):
            chosen = next((after for after in names[at + 1 :] if after != "="), "")
            if chosen not in _ALLOWED_ENGINES:
                raise _denied(f"ENGINE {chosen}")


def _denied(what: str) -> SqlRefused:
    return SqlRefused(ACCESS_DENIED, f"Not enough privileges: this server does not allow {what}")


def _read(text: bytes) -> Iterator[tuple[str, str]]:
    """Yield the tokens as kind and plain text: words in upper case, quoted names without quotes.

    Raises:
        SqlRefused: There is one that this server does not read as ClickHouse may.
    """
    for kind, start, end in tokens(text):
        token = text[start:end]
        if kind == "word":
            yield kind, token.decode().upper()
        elif kind == "mark":
            if not _PLAIN_MARK.fullmatch(token):
                raise SqlRefused(SYNTAX_ERROR, f"Syntax error: unexpected {token!r}")
            yield kind, token.decode()
        elif token[:1] in b"'$":
            yield "text", "''"
        else:
            yield "name", _unquoted(token)


def _unquoted(token: bytes) -> str:
    """Return a quoted identifier as it is meant; one with escapes is nobody's."""
    if b"\\" in token:
        raise SqlRefused(SYNTAX_ERROR, "Syntax error: a name with a backslash")
    return token[1:-1].decode(errors="replace").upper()
