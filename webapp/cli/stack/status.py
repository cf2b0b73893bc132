"""`threadkeep status`."""

import sys
from pathlib import Path

import click
import msgspec
import requests

from webapp.cli.stack.running import NOTHING_RUNS, Running, data_option, running

READY_SECONDS = 5.0
UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


@click.command()
@data_option
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def status(data: Path, as_json: bool) -> None:
    """Show whether a stack runs here, its programs, and whether it is ready.

    Exit status 0 if everything runs and the API is ready, otherwise 1.
    """
    found = running(data)
    ready = _readiness(found.addresses.get("API_URL")) if found else "not running"
    if as_json:
        shown = {} if found is None else found._asdict()
        shown["programs"] = [one._asdict() for one in found.programs] if found else []
        click.echo(msgspec.json.encode({"running": bool(found), "ready": ready == "ready"} | shown))
    elif found is None:
        click.echo(NOTHING_RUNS.format(data))
    else:
        _show(found, data, ready)
    if found is None or found.missing or ready != "ready":
        sys.exit(1)


def _readiness(url: str | None) -> str:
    """What the API says of itself, in a few words."""
    if url is None:
        return "starting"
    session = requests.Session()
    session.trust_env = False
    try:
        answer = session.get(f"{url}/readyz", timeout=READY_SECONDS)
    except requests.RequestException:
        return "does not answer"
    return "ready" if answer.status_code == 200 else "not ready: see `threadkeep doctor`"


def _show(found: Running, data: Path, ready: str) -> None:
    click.echo(f"The stack on {data} runs as process {found.pid}; its API: {ready}.")
    names = {"API_URL": "API", "WS_URL": "Sockets", "FLOWER_URL": "Flower"}
    for variable, url in found.addresses.items():
        click.echo(f"  {names[variable]:<12} {url}")
    for program in found.programs:
        age = duration(program.seconds)
        click.echo(f"  {program.name:<16} process {program.pid:<8} since {age}")
    for name in found.missing:
        click.echo(f"  {name:<16} does not run; `threadkeep logs {name}` shows its end")


def duration(seconds: float) -> str:
    """A duration in its largest unit, as `3 h`."""
    for unit, length in UNITS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"
