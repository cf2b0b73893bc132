"""A Python client, generated from the description by openapi-python-client."""

import compileall
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from support.calls.api import Api, ok
from support.stack.processes import Launched

PROGRAM = Path(sysconfig.get_path("scripts")) / "openapi-python-client"
CALLER = """
import json, os
from generated.api.messages import get_message, post_message
from generated.client import AuthenticatedClient
from generated.models import PostMessage, PostMessageMetadata

client = AuthenticatedClient(base_url=os.environ["API_URL"], token=os.environ["API_TOKEN"])
metadata = PostMessageMetadata.from_dict({"tags": ["a", "b"]})
body = PostMessage(message="from Python", metadata=metadata)
sent = post_message.sync("python", client=client, body=body, idempotency_key="once")
read = get_message.sync(sent.id, client=client)
print(json.dumps({
    "id": str(read.id),
    "tier": sent.tier_used.value,
    "created_at": read.created_at.isoformat(),
    "metadata": read.metadata.to_dict(),
}))
"""


def generate(stack: Launched, folder: Path) -> None:
    """Has a client generated; what the generator leaves out is a warning, which fails."""
    (folder / "config.yaml").write_text("post_hooks: []\n")
    done = subprocess.run(
        [
            *(str(PROGRAM), "generate", "--url", f"{stack.url}/openapi.json", "--meta", "none"),
            *("--config", "config.yaml", "--output-path", "generated", "--fail-on-warning"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def run(folder: Path, *arguments: str, **environment: str) -> str:
    """What Python prints there."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_compiles_and_posts_and_reads(
    stack: Launched, api: Api, user_token: str, tmp_path: Path
) -> None:
    generate(stack, tmp_path)
    assert compileall.compile_dir(tmp_path / "generated", quiet=1)
    run(tmp_path, "-m", "mypy", "--config-file=", "--cache-dir=.mypy_cache", "generated")
    said = json.loads(run(tmp_path, "-c", CALLER, API_URL=stack.url, API_TOKEN=user_token))
    assert (said["tier"], said["metadata"]) == ("redis", {"tags": ["a", "b"]})
    found = ok(api.get(f"/api/messages/{said['id']}"))
    assert found["content"] == "from Python"
    assert said["created_at"] == found["created_at"].replace("Z", "+00:00")
