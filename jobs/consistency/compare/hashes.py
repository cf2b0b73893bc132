"""Compares rows of ClickHouse with their own hash, inside ClickHouse. The canonical form built
there differs from Python's for control characters, U+2028, U+2029 and unsorted inner objects of
metadata, so a row that does not match is fetched and judged in Python."""

from jobs.consistency.judge.copies import archived_rows
from jobs.consistency.judge.integrity import DataIntegrityValidator
from storage.clickhouse.driver import ClickHouse
from storage.clickhouse.fingerprints import Cut, clickhouse_where
from storage.clickhouse.rows import RANK
from storage.resilience.bites import batches

BATCH_ROWS = 1_000

_MOMENT = "concat('\"', replaceOne(toString({0}), ' ', 'T'), 'Z\"')"
_SORTED_METADATA = r"""
concat('{', arrayStringConcat(arrayMap(pair -> concat(toJSONString(pair.1), ':', pair.2),
    arraySort(pair -> pair.1, JSONExtractKeysAndValuesRaw(metadata))), ','), '}')"""
_FORM = """
concat('["', toString(id), '",', toJSONString(user_id), ',', toJSONString(thread_id), ',',
    toJSONString(toString(role)), ',', toJSONString(content), ',', {metadata}, ',',
    {created_at}, ',', {updated_at}, ',', toString(version), ',',
    if(deleted_at IS NULL, 'null', {deleted_at}), ']')"""
_MISMATCHED = """
SELECT toString(id) AS name FROM (
    SELECT id, argMax(content_hash = {as_kept} OR content_hash = {as_sorted},
                      {rank}) AS is_sound
    FROM messages WHERE {where} GROUP BY id
) WHERE NOT is_sound ORDER BY id
SETTINGS output_format_json_escape_forward_slashes = 0, short_circuit_function_evaluation = 'enable'
"""


def unsound(server: ClickHouse, cut: Cut) -> set[str]:
    """The ids of a cut whose newest row in ClickHouse is damaged. Raises `TierError`."""
    found = set()
    for batch in batches(mismatched(server, cut), BATCH_ROWS):
        rows = archived_rows(server, batch)
        for name in batch:
            newest = rows[name][0].message if name in rows else None
            if newest is None or DataIntegrityValidator.flaw_of(newest) is not None:
                found.add(name)
    return found


def mismatched(server: ClickHouse, cut: Cut) -> list[str]:
    """The ids whose newest row ClickHouse itself finds not to match, rightly or not."""
    query = _MISMATCHED.format(
        as_kept=_hash_with("metadata"),
        as_sorted=_hash_with(_SORTED_METADATA),
        where=clickhouse_where(cut),
        rank=RANK,
    )
    return [row.name for row in server.rows(query)]


def _hash_with(metadata: str) -> str:
    moments = {
        name: _MOMENT.format(name if name != "deleted_at" else "assumeNotNull(deleted_at)")
        for name in ("created_at", "updated_at", "deleted_at")
    }
    return f"lower(hex(SHA256({_FORM.format(metadata=metadata, **moments)})))"
