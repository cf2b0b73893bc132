"""The dashboard and the alert rules: they can be read, and ask for nothing that does not exist."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import settings
from jobs.monitor.alerts.rules import CONSISTENCY_PERCENT
from jobs.monitor.exposition import GAUGES
from storage.telemetry.instruments import Instruments

DEPLOY = Path(settings.__file__).with_name("deploy")
DASHBOARD = DEPLOY / "grafana" / "threadkeep.json"
RULES = DEPLOY / "prometheus" / "alerts.yml"
RULE = re.compile(
    r"      - alert: (?P<alert>\w+)\n"
    r"        expr: (?P<expr>[^\n]+)\n"
    r"(?:        for: (?P<for>\d+[smh])\n)?"
    r"        labels:\n          severity: (?P<severity>\w+)\n"
    r'        annotations:\n          summary: "(?P<summary>[^"\n]+)"\n'
)
"""YAML has many forms; the rules are all of this one."""
HEAD = "groups:\n  - name: threadkeep\n    rules:\n"


def names() -> set[str]:
    """Every name of a series that there is."""
    families = Instruments().registry.collect()
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
    counted = {
        family.name + suffix for family in families for suffix in suffixes.get(family.type, ("",))
    }
    return counted | {f"threadkeep_{name}" for name in GAUGES}


def labels() -> set[str]:
    """Every name of a label."""
    found = {"le", "pid"} | {label for gauge in GAUGES.values() for label in gauge.labels}
    for metric in set(Instruments().registry._names_to_collectors.values()):
        found |= set(metric._labelnames)
    return found


def panels() -> Iterator[dict[str, Any]]:
    yield from json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]


def rules() -> list[dict[str, str]]:
    text = RULES.read_text(encoding="utf-8")
    return [found.groupdict() for found in RULE.finditer(text)]


def expressions() -> list[str]:
    asked = [target["expr"] for panel in panels() for target in panel.get("targets", ())]
    return asked + [rule["expr"] for rule in rules()]


def test_the_rules_are_read_to_their_last_line() -> None:
    lines = RULES.read_text(encoding="utf-8").splitlines(keepends=True)
    text = "".join(line for line in lines if not line.startswith("#") and line.strip())
    assert text.startswith(HEAD)
    assert RULE.sub("", text.removeprefix(HEAD)) == ""
    assert len(rules()) > 15
    assert {rule["severity"] for rule in rules()} == {"critical", "warning", "info"}
    assert len({rule["alert"] for rule in rules()}) == len(rules())


def test_the_dashboard_has_its_panels_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(list(panels()))


@pytest.mark.parametrize("expression", expressions())
def test_what_is_asked_for_exists(expression: str) -> None:
    asked = set(re.findall(r"threadkeep_\w+", expression))
    assert asked
    assert asked <= names()
    grouped = re.findall(r"by \(([^)]+)\)", expression)
    chosen = re.findall(r"[{,]\s*(\w+)\s*(?:=~|!=|=)", expression)
    assert {name.strip() for group in grouped for name in group.split(",")} | set(
        chosen
    ) <= labels()
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)


def documented() -> set[str]:
    """The names of series that the operators' page has, without their suffixes."""
    page = DEPLOY.with_name("docs").joinpath("operations.md").read_text(encoding="utf-8")
    table = page[page.index("| `threadkeep_…` |") :]
    rows = re.findall(r"^\|([^|]+)\|", table[: table.index("\n\n")], re.MULTILINE)
    return {bare(name) for row in rows[2:] for name in re.findall(r"`(\w+)(?:\{[^`]*)?`", row)}


def bare(name: str) -> str:
    return re.sub(r"_(total|bucket|count|sum)$", "", name.removeprefix("threadkeep_"))


def test_what_is_served_is_described_and_what_is_described_is_served() -> None:
    assert documented() == {bare(name) for name in names()}


def test_rules_and_alerts_of_its_own_have_one_bound() -> None:
    (rule,) = [one for one in rules() if one["alert"] == "ThreadkeepTiersDiffer"]
    assert rule["expr"].endswith(f"< {CONSISTENCY_PERCENT:g}")
    (panel,) = [one for one in panels() if one["title"] == "Data consistency"]
    shown = panel["fieldConfig"]["defaults"]
    assert shown["unit"] == "percent"
    assert shown["thresholds"]["steps"][-1] == {"color": "green", "value": CONSISTENCY_PERCENT}


def test_what_is_counted_is_shown() -> None:
    """A figure that no dashboard shows is one that nobody looks at."""
    asked = {name for one in expressions() for name in re.findall(r"threadkeep_\w+", one)}
    bare = {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked}
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in names()} == bare
