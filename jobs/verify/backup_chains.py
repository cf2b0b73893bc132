"""Judges the chains of a backup, of which every byte was checked before."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import msgspec

from jobs.transfer.backup.manifest import HEADS, LINKS, MESSAGES, Manifest
from jobs.transfer.backup.verify import lines
from jobs.verify.evidence import Part, by_thread, kept_parts
from jobs.verify.report import VerificationReport
from jobs.verify.thread_check import flaws_of
from models import codec, ids
from models.chain import Head
from storage.clickhouse.pages import Selection
from storage.clickhouse.thread_links import ThreadLink
from storage.errors import Refused
from storage.postgres.thread_heads import Thread

UNLINKED_SECONDS = 60
"""Messages of so short a time before a backup may have no link in it yet."""

Row = TypeVar("Row", bound=msgspec.Struct)


class _Head(msgspec.Struct):
    user_id: str
    thread_id: str
    length: int
    link: str


class _Erasure(msgspec.Struct):
    user_id: str
    erased_through: str


def verify_chains(
    folder: Path, manifest: Manifest, kept: Mapping[Thread, Head]
) -> VerificationReport:
    """Walks every thread of a backup. In memory are the heads of all threads. Raises `Refused` for
    one that was made before there were chains."""
    if not {HEADS, LINKS} <= manifest.parts.keys():
        raise Refused(f"{folder} was made before there were hash chains: it has none to verify")

    def rows(table: str, kind: type[Row]) -> Iterator[Row]:
        decoder = msgspec.json.Decoder(kind)
        return map(decoder.decode, lines(folder, manifest.parts[table]))

    erased = {one.user_id: one.erased_through for one in rows("user_erasures", _Erasure)}
    heads = sorted((one.user_id, one.thread_id, one.length, one.link) for one in rows(HEADS, _Head))
    since = min((one.linked_at for one in rows(LINKS, ThreadLink)), default=None)
    report = VerificationReport(kept_heads=len(kept))
    messages = map(codec.decode, lines(folder, manifest.parts[MESSAGES]))
    for evidence in by_thread(
        (Part((user, thread), head=Head(length, link)) for user, thread, length, link in heads),
        kept_parts(kept, Selection()),
        map(Part.of_link, rows(LINKS, ThreadLink)),
        (Part.of_message("backup", one) for one in messages),
    ):
        own = evidence._replace(
            erased_through=erased.get(evidence.user_id, ""),
            linked_since=since,
            linked_until=_before(manifest.made_at),
        )
        report.walked(own)
        report.found(list(flaws_of(own)))
    return report


def _before(made_at: str) -> str:
    moment = datetime.fromisoformat(made_at) - timedelta(seconds=UNLINKED_SECONDS)
    return ids.timestamp(ids.time_us(moment))
