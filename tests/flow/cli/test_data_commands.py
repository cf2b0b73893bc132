"""`import` and `export` as commands, on a running store."""

import gzip
import json
import os
import threading
from importlib.resources import files
from itertools import islice
from pathlib import Path

import msgspec
import pytest

from jobs.transfer.bulk_import import BulkImporter
from jobs.transfer.formats import chitchat, thread_lines
from models import codec
from support.calls.commands import threadkeep
from support.data.samples import AWKWARD_TEXTS, message
from support.stack.processes import Launched
from wiring.process import Services


def test_an_export_is_the_same_bytes_every_time_and_comes_back_whole(
    stack: Launched, services: Services, tmp_path: Path, user: str
) -> None:
    originals = [message(user, "t", one, metadata={"text": one}) for one in AWKWARD_TEXTS]
    list(BulkImporter(services.tiers).run(originals))
    first = threadkeep(tmp_path, stack.env, "export", "--user", user)
    assert first.returncode == 0, first.stderr
    file = tmp_path / "export.jsonl"
    second = threadkeep(tmp_path, stack.env, "export", "--user", user, "--output", str(file))
    assert second.returncode == 0, second.stderr
    assert first.stdout == file.read_bytes()
    assert os.stat(file).st_mode & 0o777 == 0o600
    thread, *messages = first.stdout.splitlines()
    assert [codec.decode(line) for line in messages] == originals
    assert thread_lines.decode(thread, None).id == "t"
    again = threadkeep(tmp_path, stack.env, "import", str(file), "--json")
    assert again.returncode == 0, again.stderr
    summary = json.loads(again.stdout)
    assert (summary["written"], summary["unchanged"]) == (0, len(originals))


def test_the_command_takes_the_dataset_and_says_what_it_refused(
    stack: Launched, tmp_path: Path, user: str
) -> None:
    data = files("chitchat_dataset").joinpath("dataset.json").read_bytes()
    few = dict(islice(chitchat.read(data).items(), 5))
    few["not a thread id"] = next(iter(few.values()))
    file = tmp_path / "dataset.json"
    file.write_text(json.dumps(few))
    done = threadkeep(tmp_path, stack.env, "import", str(file), "--user", user, "--json")
    summary = json.loads(done.stdout)
    refused = sum(map(len, few["not a thread id"]["messages"]))
    assert done.returncode == 1
    assert summary["refused"] == refused
    assert b"a thread id has 1 to 128 characters" in done.stderr
    assert b"message 1 of 'not a thread id'" in done.stderr
    exported = threadkeep(tmp_path, stack.env, "export", "--user", user).stdout.splitlines()
    messages = [line for line in exported if not thread_lines.is_thread(line)]
    assert len(messages) == summary["written"] > 0


@pytest.mark.parametrize("packed", [False, True])
def test_a_pipe_is_as_good_as_a_file(
    stack: Launched, tmp_path: Path, user: str, packed: bool
) -> None:
    moments = [f"2020-01-01T00:00:{second:02}Z" for second in range(60)]
    lines = [
        {"thread_id": "t", "user_id": user, "content": "hello", "created_at": moment}
        for moment in moments
    ]
    data = b"\n".join(map(msgspec.json.encode, lines))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    written = gzip.compress(data) if packed else data
    writer = threading.Thread(target=pipe.write_bytes, args=(written,), daemon=True)
    writer.start()
    done = threadkeep(tmp_path, stack.env, "import", str(pipe), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["written"] == len(lines)
    writer.join()
    again = threadkeep(tmp_path, stack.env, "import", "/dev/stdin", "--json", stdin=written)
    assert json.loads(again.stdout)["unchanged"] == len(lines)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", b"there is no message in it"),
        (b"\n\n", b"there is no message in it"),
        (b"{}", b"has not the shape"),
        (b'{\n"c": 1}', b"neither a ChitChat dataset"),
        (b'[{"title": "t", "mapping": {}}]', b"looks like a ChatGPT export"),
        (gzip.compress(b"hello")[:-4], b"gzip is damaged or cut short"),
    ],
)
def test_a_file_without_messages_is_a_problem_that_is_named_once(
    stack: Launched, tmp_path: Path, data: bytes, words: bytes
) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    for name in (str(file), "-"):
        done = threadkeep(tmp_path, stack.env, "import", name, stdin=data)
        assert done.returncode == 1
        assert done.stderr.count(words) == 1, done.stderr


def test_the_command_reads_lines_from_stdin_and_names_the_bad_ones(
    stack: Launched, tmp_path: Path, user: str
) -> None:
    lines = [
        {"thread_id": "t", "user_id": user, "content": "one", "created_at": "2020-01-01T00:00:00Z"},
        {"thread_id": "t", "user_id": user, "content": "two"},
        {"thread_id": "t", "user_id": user, "contents": "misspelt"},
    ]
    stdin = b"\n".join(map(msgspec.json.encode, lines))
    done = threadkeep(tmp_path, stack.env, "import", "-", stdin=stdin)
    assert done.returncode == 1
    assert b"2 written" in done.stdout
    assert b"(line 3)" in done.stderr
    assert threadkeep(tmp_path, stack.env, "import", str(tmp_path / "none")).returncode == 1
    assert threadkeep(tmp_path, stack.env, "import", "-", "--time", "noon").returncode == 2
