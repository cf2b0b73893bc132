"""Refuses statements that reach files, the network or programs, whoever sends them.

chDB is made for one user at a command line, who may read every file of the account, and has no
rights to revoke. So statements are checked token by token before chDB gets them: a list names what
is allowed, nothing on it reaches out of the data folder, and a statement that cannot be parsed with
certainty is refused.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from embedded.clickhouse.sql import SqlRefused, tokens

ACCESS_DENIED = 497
READONLY = 164
SYNTAX_ERROR = 62


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The table functions that make rows or read this server's own tables; none takes text as rows,
# structure or a statement, as such a text would be SQL of its own.
_ALLOWED_TABLE_FUNCTIONS = _names(
    "GENERATE_SERIES GENERATESERIES MERGE NUMBERS NUMBERS_MT PRIMES VIEW ZEROS ZEROS_MT"
)
# Functions are named without a call too, as arguments of others.
_REACHING_FUNCTIONS = _names(
    "FILE CATBOOSTEVALUATE DISK HASCOLUMNINTABLE REVERSEDNSQUERY STRUCTURETOCAPNPROTOSCHEMA"
    " STRUCTURETOPROTOBUFSCHEMA"
)
_ALLOWED_ENGINES = _names(
    "AGGREGATINGMERGETREE COALESCINGMERGETREE COLLAPSINGMERGETREE LOG MEMORY MERGETREE NULL"
    " REPLACINGMERGETREE STRIPELOG SUMMINGMERGETREE TINYLOG VERSIONEDCOLLAPSINGMERGETREE"
)
# Words that lead to a file, to a second statement, or to a name that comes with the address.
_REFUSED_AFTER = {
    "OUTFILE": _names("INTO"),
    "INFILE": _names("FROM"),
    "WITH": _names("PARALLEL"),
    "IDENTIFIER": _names(":"),
}
# A setting may name a file, hold SQL of its own, or have the statement read as another language.
# So only these are allowed: those that the store, its libraries and its tables need.
_ALLOWED_SETTINGS = _names(
    """
    apply_deleted_mask async_insert cancel_http_readonly_queries_on_client_close
    cast_string_to_dynamic_use_inference
    date_time_input_format date_time_output_format distributed_ddl_task_timeout
    do_not_merge_across_partitions_select_final final http_headers_progress_interval_ms
    input_format_json_read_objects_as_strings input_format_skip_unknown_fields
    insert_deduplication_token max_block_size max_execution_time max_memory_usage max_query_size
    max_threads mutations_sync output_format_json_escape_forward_slashes
    send_progress_in_http_headers short_circuit_function_evaluation use_skip_indexes_if_final
    use_skip_indexes_if_final_exact_mode
    cleanup_delay_period cleanup_delay_period_random_add fsync_after_insert fsync_part_directory
    max_cleanup_delay_period min_compressed_bytes_to_fsync_after_merge
    min_rows_to_fsync_after_merge non_replicated_deduplication_window old_parts_lifetime
    """
)

_READING = _names("SELECT WITH SHOW DESCRIBE DESC EXISTS EXPLAIN CHECK")
_WRITING = _names("INSERT CREATE ALTER DROP TRUNCATE RENAME EXCHANGE OPTIMIZE DELETE UPDATE SYSTEM")
_OBJECTS = _names("TABLE VIEW")
_OWN_DATABASES = _names("DEFAULT SYSTEM INFORMATION_SCHEMA")
_SERVERS_OWN = _names("SYSTEM INFORMATION_SCHEMA")
_REST_OF_INSERT = _names("SELECT WITH")
_SUBQUERIES = ([("word", "SELECT")], [("word", "WITH")], [("mark", "(")])
_OF_ROWS = _names("FORMAT VALUES INFILE")
_BEFORE_OBJECTS = _names("OR REPLACE TEMPORARY MATERIALIZED")
_BEFORE_NAMES = _names("IF NOT EXISTS")
# What a name in quotes may be: none is a mark or another part of a statement.
_QUOTED_NAME = re.compile(r"[^\W\d][\w .:/%()*,+-]*")
_SYSTEM = (["STOP", "MERGES"], ["START", "MERGES"])
# Outside quotes nothing but these is part of SQL as this server reads it: no quote without an
# end, no space of another alphabet that ClickHouse would pass over and this would not.
_PLAIN_MARK = re.compile(rb"[-+*/%<>=!|&^~?:;.,()\[\]{}@]")


Tokens = list[tuple[str, str]]


@dataclass(frozen=True)
class StatementRules:
    """The rules of one server, which knows its own functions."""

    refused_calls: frozenset[str]
    refused_names: frozenset[str]

    def check(self, text: bytes, *, read_only: bool = False, has_data: bool = False) -> None:
        """Refuse a statement that may not run, or an INSERT up to its data. Raises `SqlRefused`."""
        found = list(_read(text))
        if has_data and ("mark", ";") in found:
            raise SqlRefused(SYNTAX_ERROR, "Syntax error: data after the end of a statement")
        words = [name for kind, name in found if kind == "word"]
        _check_kind(words, read_only)
        _check_objects(words[0], found)
        if "INSERT" in words:
            _check_insert(found[found.index(("word", "INSERT")) + 1 :], has_data=has_data)
        self._check_names(found)
        _check_settings(found)
        if words[0] == "CREATE":
            _check_engines(found)

    def check_values(self, data: bytes) -> None:
        """Refuse rows of the format `Values`, which are expressions. Raises `SqlRefused`."""
        found = list(_read(data))
        # Within brackets ClickHouse guesses at types, and reads no double quote as a quote.
        if any(kind == "name" for kind, _ in found):
            raise SqlRefused(SYNTAX_ERROR, "Syntax error: a name in quotes among rows")
        self._check_names(found)

    def _check_names(self, found: Tokens) -> None:
        following = [name for _, name in found[1:]] + [""]
        before = ""
        for (kind, name), after in zip(found, following, strict=False):
            if kind in {"word", "name"}:
                if name in self.refused_names or before in _REFUSED_AFTER.get(name, ()):
                    raise _denied(name)
                if after == "(" and name in self.refused_calls:
                    raise _denied(name)
            before = name


def rules(table_functions: Iterable[str], functions: Iterable[str]) -> StatementRules:
    """Make the rules for a server that has these functions, in whatever case."""
    refused = {name.upper() for name in table_functions} - _ALLOWED_TABLE_FUNCTIONS
    # Functions that call a language model send text away.
    asking = {name.upper() for name in functions if name.upper().startswith("AI")}
    return StatementRules(frozenset(refused), _REACHING_FUNCTIONS | asking)


def check_database(name: str) -> None:
    """Refuse statements about the server's own tables. Raises `SqlRefused`."""
    if name.upper() in _SERVERS_OWN:
        raise _denied(f"the database {name}")


def check_setting(name: str) -> None:
    """Refuse a setting that is not on the list. Raises `SqlRefused`."""
    if name.lower() not in _ALLOWED_SETTINGS:
        raise _denied(f"the setting {name}")


def _check_kind(words: list[str], read_only: bool) -> None:
    first = words[0] if words else ""
    if first not in _READING | _WRITING:
        raise SqlRefused(SYNTAX_ERROR, "Syntax error, or no statement that this server runs")
    if read_only and (first in _WRITING or "INSERT" in words):
        raise SqlRefused(READONLY, "Only POST may write")
    if first == "SYSTEM" and words[1:3] not in _SYSTEM:
        raise _denied(first)


def _check_objects(first: str, found: Tokens) -> None:
    """Refuse creating anything but tables, and changing the server's own ones."""
    if first not in _WRITING - {"INSERT", "SYSTEM"}:
        return
    names = [name for _, name in found if name not in _BEFORE_OBJECTS]
    names = names[names.index(first) :]
    if names[1:2] == ["DATABASE"]:
        _check_database(first, [name for name in names[2:] if name not in _BEFORE_NAMES])
    elif first in {"CREATE", "DROP", "ALTER"} and not _OBJECTS.intersection(names[1:2]):
        raise _denied(" ".join(names[:2]))
    if any(kind in {"word", "name"} and name in _SERVERS_OWN for kind, name in found):
        raise _denied(f"{first} of the system's tables")


def _check_insert(rest: Tokens, *, has_data: bool) -> None:
    """Refuse an INSERT unless it is certain where its rows come from: if chDB finds the rows
    itself, it runs what follows an empty line in them as a statement."""
    end = ("", "")
    at = 1 if rest[:1] == [("word", "INTO")] else 0
    if rest[at : at + 1] == [("word", "TABLE")] and rest[at + 1 : at + 2] != [("mark", ".")]:
        at += 1
    table = [*rest[at : at + 3], end, end, end]
    if table[1] == ("mark", "."):
        if table[0][1] in _SERVERS_OWN:
            raise _denied("INSERT into the system's tables")
        at += 2
    at += 1
    kind, name = [*rest[at:], end][0]
    if (kind, name) == ("mark", "(") and rest[at + 1 : at + 2] not in _SUBQUERIES:
        at = _after_brackets(rest, at)
        kind, name = [*rest[at:], end][0]
    if (kind, name) == ("word", "SETTINGS"):
        if has_data:
            return
        following = [one for one in rest[at:] if one[1] in _REST_OF_INSERT or one[1] == "("]
        kind, name = [*following, end][0]
    is_sure = (kind, name) in {end, ("mark", ";")} if has_data else name in {*_REST_OF_INSERT, "("}
    if not is_sure or (not has_data and any(("word", one) in rest for one in _OF_ROWS)):
        raise SqlRefused(
            SYNTAX_ERROR, "Syntax error: where the rows of this INSERT begin is unclear"
        )


def _after_brackets(found: Tokens, at: int) -> int:
    depth = 0
    for place in range(at, len(found)):
        depth += (found[place] == ("mark", "(")) - (found[place] == ("mark", ")"))
        if not depth:
            return place + 1
    return len(found)


def _check_database(first: str, names: list[str]) -> None:
    """Allow creating and dropping an ordinary database; an engine would be one more word."""
    rest = names[:-1] if names[-1:] == [";"] else names
    if first not in {"CREATE", "DROP"} or len(rest) != 1 or rest[0] in _OWN_DATABASES:
        raise _denied(f"{first} DATABASE {' '.join(names)}")


def _check_settings(found: Tokens) -> None:
    """Refuse a settings clause with settings that are not on the list."""
    names = [name for _, name in found]
    for at, (kind, name) in enumerate(found):
        # After a dot it is the name of a table or a column, unless a number ends with that dot.
        is_member = at > 1 and found[at - 1] == ("mark", ".") and not names[at - 2][:1].isdigit()
        is_clause = name == "SETTINGS" or (name == "SETTING" and names[at - 1] == "MODIFY")
        if kind == "word" and is_clause and not is_member:
            _check_pairs(found[at + 1 :])


def _check_pairs(found: Tokens) -> None:
    """Check `name = value, ...` at the beginning; a value is one number, word or text."""
    rest = iter(found)
    nothing = ("", "")
    end = ","
    while end == ",":
        (_, name), (_, equals), (kind, _) = (next(rest, nothing) for _ in range(3))
        check_setting(name)
        after, end = next(rest, nothing)
        # Anything else after the value might be a part of it that this parser does not see.
        if equals != "=" or kind == "mark" or not (after in {"", "word"} or end in ",);"):
            raise SqlRefused(SYNTAX_ERROR, f"Syntax error: the setting {name} has no plain value")


def _check_engines(found: Tokens) -> None:
    """Refuse an engine of tables that is not on the list, with or without its `=`."""
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
        SqlRefused: A token that ClickHouse might read differently.
    """
    for kind, start, end in tokens(text):
        token = text[start:end]
        if kind == "comment":
            raise SqlRefused(SYNTAX_ERROR, "Syntax error: a comment within a statement")
        if kind == "word":
            yield kind, token.decode().upper()
        elif kind == "mark":
            if not _PLAIN_MARK.fullmatch(token):
                raise SqlRefused(SYNTAX_ERROR, f"Syntax error: unexpected {token!r}")
            yield kind, token.decode()
        elif token[:1] == b"'":
            yield "text", "''"
        else:
            yield "name", _unquoted(token)


def _unquoted(token: bytes) -> str:
    """Return a quoted identifier without quotes; one with escapes is refused."""
    if b"\\" in token:
        raise SqlRefused(SYNTAX_ERROR, "Syntax error: a name with a backslash")
    name = token[1:-1].decode(errors="replace").upper()
    if not _QUOTED_NAME.fullmatch(name):
        raise SqlRefused(SYNTAX_ERROR, f"Syntax error: {name!r} is no name that this server takes")
    return name
