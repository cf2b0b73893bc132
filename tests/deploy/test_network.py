"""Who may reach the pods of the chart, what they reach, and how they are watched."""

import pytest
import yaml

from .conftest import DEPLOY, Manifest, of_kind, pods


@pytest.mark.parametrize(
    ("program", "ports"),
    [
        ("web", {6379, 5432, 8123, 443, 4318}),
        ("worker", {6379, 5432, 8123, 443, 4318}),
        ("flower", {6379}),
        ("migrate", {6379, 5432, 8123}),
    ],
)
def test_pods_reach_what_is_named_and_nothing_else(
    program: str, ports: set[int], everything: list[Manifest]
) -> None:
    spec = of_kind(everything, "NetworkPolicy")[program]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    reached = {port["port"] for rule in spec["egress"] for port in rule["ports"]}
    assert reached == ports | {53}
    closed = [rule for rule in spec["egress"] if "to" in rule]
    assert (program == "flower") == (not closed)


def test_those_who_may_come_in_are_named(everything: list[Manifest]) -> None:
    found = of_kind(everything, "NetworkPolicy")
    assert found["migrate"]["spec"]["ingress"] == []
    for program, names in (("web", ["edge", "watch"]), ("worker", ["watch"])):
        rules = found[program]["spec"]["ingress"]
        peers = [peer["namespaceSelector"]["matchLabels"] for one in rules for peer in one["from"]]
        assert [peer["name"] for peer in peers] == names


def test_the_metrics_of_every_pod_are_scraped(everything: list[Manifest]) -> None:
    (monitor,) = of_kind(everything, "ServiceMonitor").values()
    wanted = monitor["spec"]["selector"]
    (rule,) = wanted["matchExpressions"]
    ports = {one["port"]: one for one in monitor["spec"]["endpoints"]}
    for name in ("web", "realtime", "worker", "beat"):
        service = of_kind(everything, "Service")[name]
        labels = service["metadata"]["labels"]
        assert wanted["matchLabels"].items() <= labels.items()
        assert labels[rule["key"]] in rule["values"]
        (port,) = service["spec"]["ports"]
        assert port["name"] in ports
        listening = [one.get("ports", ()) for one in pods(everything)[name]["containers"]]
        assert port["targetPort"] in {each["name"] for some in listening for each in some}
    assert ports["http"]["authorization"]["credentials"]["name"] == "threadkeep-metrics"


def test_the_alert_rules_are_those_of_the_repository(everything: list[Manifest]) -> None:
    (rule,) = of_kind(everything, "PrometheusRule").values()
    text = (DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    assert set(rule["spec"]) == {"groups"}
    assert rule["spec"] == yaml.safe_load(text)
