"""The Helm chart: what it renders is what Kubernetes takes, and its parts find each other."""

import json

import pytest

from .conftest import CHART, EVERYTHING, Manifest, Render, of_kind, pods

OURS = ("web", "realtime", "worker", "beat")
VERSIONS = ("1.30", "1.32", "1.34", "1.36", "1.37")
FOREIGN = "monitoring.coreos.com/"


def test_the_linter_finds_nothing() -> None:
    helm = pytest.importorskip("helm_python", reason="no Helm for this machine")
    found = helm.lint(str(CHART))
    assert [one["error"] for one in found["messages"]] == ["icon is recommended"]
    assert not found["errors"]


def test_rendering_it_twice_gives_the_same(render: Render, everything: list[Manifest]) -> None:
    assert json.dumps(render(EVERYTHING)) == json.dumps(everything)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_manifest(version: str, everything: list[Manifest]) -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    known = [one for one in everything if not one["apiVersion"].startswith(FOREIGN)]
    assert len(known) == len(everything) - 2
    for one in known:
        validate(one, version, strict=True)


def test_kubernetes_would_not_take_a_misspelt_one(everything: list[Manifest]) -> None:
    """The check above can fail."""
    library = pytest.importorskip("kubernetes_validate")
    broken = json.loads(json.dumps(of_kind(everything, "Deployment")["web"]))
    broken["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
    with pytest.raises(library.ValidationError):
        library.validate(broken, VERSIONS[-1], strict=True)


def test_each_program_runs_and_flower_only_if_it_is_asked_for(
    default: list[Manifest], everything: list[Manifest]
) -> None:
    assert set(pods(default)) == {*OURS, "migrate"}
    assert set(pods(everything)) == {*OURS, "migrate", "flower"}
    assert of_kind(default, "Deployment")["beat"]["spec"]["replicas"] == 2


def test_everything_that_points_at_pods_finds_them(everything: list[Manifest]) -> None:
    labels = {
        name: one["spec"]["template"]["metadata"]["labels"]
        for name, one in of_kind(everything, "Deployment", "Job").items()
    }
    for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy", "Deployment"):
        for name, one in of_kind(everything, kind).items():
            spec = one["spec"]
            selector = spec.get("podSelector", spec.get("selector"))
            wanted = selector.get("matchLabels", selector)
            chosen = [each for each, has in labels.items() if wanted.items() <= has.items()]
            assert chosen == [name], kind


def test_what_scales_or_may_be_drained_is_there(everything: list[Manifest]) -> None:
    deployments = of_kind(everything, "Deployment")
    scaled = of_kind(everything, "HorizontalPodAutoscaler")
    assert set(scaled) == {"web", "realtime", "worker"}
    for name, one in scaled.items():
        assert one["spec"]["scaleTargetRef"]["name"] == deployments[name]["metadata"]["name"]
        assert "replicas" not in deployments[name]["spec"]
    assert len(scaled["worker"]["spec"]["metrics"]) == 2
    assert set(of_kind(everything, "PodDisruptionBudget")) == set(OURS)


def test_one_replica_may_be_drained(render: Render) -> None:
    alone = {"beat": {"replicas": 1}, "web": {"autoscaling": {"enabled": False}, "replicas": 1}}
    assert set(of_kind(render(alone), "PodDisruptionBudget")) == {"realtime", "worker"}


def test_the_migration_comes_before_everything_and_may_reach_its_servers(
    everything: list[Manifest],
) -> None:
    job = of_kind(everything, "Job")["migrate"]["metadata"]["annotations"]
    policy = of_kind(everything, "NetworkPolicy")["migrate"]["metadata"]["annotations"]
    for annotations in (job, policy):
        assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert int(policy["helm.sh/hook-weight"]) < int(job["helm.sh/hook-weight"])


def test_the_extra_manifests_are_templates(everything: list[Manifest]) -> None:
    (ingress,) = of_kind(everything, "Ingress").values()
    assert ingress["metadata"]["name"] == "demo-threadkeep"
