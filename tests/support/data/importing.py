"""History brought in by a test, and what became of it."""

import io
from collections.abc import Sequence

import msgspec

from jobs.transfer.bulk_import import BulkImporter, Imported
from jobs.transfer.formats import jsonl
from jobs.transfer.formats.source import Kept, Minted
from wiring.process import Services


def lines(user: str, *rows: dict[str, object]) -> list[Minted]:
    """Messages of somebody else's making."""
    named = ({"thread_id": "t", "user_id": user} | one for one in rows)
    stream = io.BytesIO(b"\n".join(map(msgspec.json.encode, named)))
    return [one for one in jsonl.source(stream) if isinstance(one, Minted)]


def run_import(services: Services, messages: Sequence[Kept], batch: int = 1_000) -> Imported:
    """Imports in batches; gives the counts with the refusals of all steps."""
    steps = list(BulkImporter(services.tiers, batch).run(messages))
    refusals = tuple(refusal for step in steps for refusal in step.refusals)
    return steps[-1]._replace(refusals=refusals)


def counts(done: Imported) -> tuple[int, int, int]:
    return done.written, done.unchanged, done.deleted
