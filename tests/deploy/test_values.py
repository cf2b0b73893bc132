"""The values of the chart: nothing misspelt is taken, and every setting can be reached by them."""

import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

import settings

from .conftest import CHART, PAGE, READS, ROOT, Manifest, Render, of_kind

CHOSEN_BY_THE_CHART = {
    "PROMETHEUS_MULTIPROC_DIR",
    *("HOST", "PORT", "REALTIME_PORT", "FLOWER_HOST", "FLOWER_PORT", "BEAT_STATE"),
}
"""The image and the chart agree on these."""


@pytest.mark.parametrize(
    "values",
    [
        {"wbe": {}},
        {"web": {"replica": 2}},
        {"web": {"replicas": 0}},
        {"settings": {"THREADKEEP_SHARD": "16"}},
        {"settings": {"THREADKEEP_SHARDS": 16}},
        {"settings": {"DATABASE_URL": "postgresql://in-plain-text"}},
        {"settings": {"PROMETHEUS_MULTIPROC_DIR": "/elsewhere"}},
        {"secrets": {"worker": {"THREADKEEP_JWT_SECRET": {"name": "a", "key": "b"}}}},
        {"secrets": {"flower": {"DATABASE_URL": {"name": "a", "key": "b"}}}},
        {"secrets": {"web": {"DATABASE_URL": {"key": ""}}}},
        {"secrets": {"web": {"DATABASE_URL": "postgresql://in-plain-text"}}},
        {"image": {"digest": "latest"}},
        {"worker": {"resources": {"limits": {"memory": "much"}}}},
        {"networkPolicy": {"egress": {"redis": {"ports": ["6379"]}}}},
    ],
)
def test_wrong_values_are_refused(values: Manifest, render: Render) -> None:
    helm = pytest.importorskip("helm_python")
    with pytest.raises(helm.HelmError):
        render(values)


def test_a_secret_can_be_taken_away(render: Render) -> None:
    rendered = render({"secrets": {"web": {"THREADKEEP_JWT_SECRET": None}}})
    (container,) = of_kind(rendered, "Deployment")["web"]["spec"]["template"]["spec"]["containers"]
    names = {one["name"] for one in container["env"]}
    assert "THREADKEEP_JWT_SECRET_FILE" not in names
    assert "DATABASE_URL_FILE" in names


def documented() -> set[str]:
    """Every variable of the tables of docs/configuration.md."""
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    tables = page[page.index("## Variables") : page.index("## Fault injection")]
    rows = re.findall(r"^\|([^|]+)\|", tables, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)}


def test_every_setting_can_be_reached(schema: Manifest) -> None:
    (listed, _) = schema["$defs"]["settings"]["propertyNames"]["anyOf"]
    plain = set(listed["enum"])
    programs = schema["properties"]["secrets"]["properties"]
    secret = {name for program in programs.values() for name in program["properties"]}
    assert not plain & settings.SECRETS
    # Each program's own login is its DATABASE_URL.
    others = {"THREADKEEP_METRICS_TOKEN", "DATABASE_WEB_URL", "DATABASE_MIGRATE_URL"}
    assert secret | others == settings.SECRETS
    assert {*plain, *settings.SECRETS, *CHOSEN_BY_THE_CHART} >= documented()
    known = {*settings.VARIABLES.values(), *documented(), "FORWARDED_ALLOW_IPS"}
    assert plain <= known


def test_the_secrets_of_the_default_values_are_those_that_programs_read() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    token = {"THREADKEEP_METRICS_TOKEN"}
    assert {name: set(one) for name, one in values["secrets"].items()} == {
        name: reads - token for name, reads in READS.items()
    }


def options(schema: dict[str, Any], values: Any, path: str = "") -> Iterator[tuple[str, bool]]:
    """Every option that the schema names, and whether the default values name it."""
    for name, one in schema.get("properties", {}).items():
        is_named = isinstance(values, dict) and name in values
        yield f"{path}.{name}", is_named
        if is_named:
            yield from options(one, values[name], f"{path}.{name}")


def test_every_option_has_a_default(schema: Manifest) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(values, schema)
    # Helm's own, and secrets that not everybody has.
    missing = {name for name, is_named in options(schema, values) if not is_named}
    assert {name for name in missing if "WEBHOOK" not in name} == {".global"}


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    setup = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    assert f"version = {chart['appVersion']}\n" in setup
    assert chart["version"] == chart["appVersion"]


def test_the_values_that_the_page_shows_are_taken(render: Render) -> None:
    (_, values) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    rendered = render(yaml.safe_load(values))
    assert len(of_kind(rendered, "PrometheusRule", "ServiceMonitor")) == 1
    assert "example/threadkeep:" in str(of_kind(rendered, "Deployment")["web"])
