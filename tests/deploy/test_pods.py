"""The pods of the chart: bounded, watched, without rights, and with the secrets that they read."""

from typing import Any

from .conftest import READS, Manifest, Render, of_kind, pods


def containers(manifests: list[Manifest]) -> list[tuple[str, Manifest]]:
    """Every container, with its program."""
    return [(name, one) for name, pod in pods(manifests).items() for one in pod["containers"]]


def environment(container: Manifest) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container.get("env", ())}


def test_every_container_has_bounds_probes_and_no_rights(everything: list[Manifest]) -> None:
    for program, one in containers(everything):
        for kind in ("requests", "limits"):
            assert set(one["resources"][kind]) >= {"cpu", "memory"}, program
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        }
        if program != "migrate":
            assert {"startupProbe", "livenessProbe"} <= set(one), program
        assert one["image"].endswith("@sha256:" + "ab" * 32)


def test_every_pod_is_an_ordinary_user_without_an_account(everything: list[Manifest]) -> None:
    for pod in pods(everything).values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["imagePullSecrets"] == [{"name": "registry"}]
        kinds = {one["name"]: one for one in pod["volumes"]}
        # What must be written goes to memory, and only so much of it.
        for name in ("temporary", "metrics"):
            assert kinds[name]["emptyDir"]["sizeLimit"]
        assert not [one for one in pod["volumes"] if "hostPath" in one]


def test_probes_mean_progress(everything: list[Manifest]) -> None:
    found = {one["name"]: one for program, one in containers(everything) if program == one["name"]}
    for program in ("web", "realtime"):
        assert found[program]["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert found[program]["readinessProbe"]["httpGet"]["path"] == "/readyz"
    for program in ("worker", "beat"):
        command = ["python", "-m", "tasks.programs.probe", program]
        assert found[program]["livenessProbe"]["exec"]["command"] == command


def test_each_program_gets_the_secrets_it_reads_as_files(everything: list[Manifest]) -> None:
    for program, pod in pods(everything).items():
        container = pod["containers"][0]
        files = {
            name.removesuffix("_FILE"): value
            for name, value in environment(container).items()
            if name.endswith("_FILE")
        }
        assert set(files) == READS[program], program
        (volume,) = [one for one in pod["volumes"] if one["name"] == "secrets"]
        given = [one["secret"]["items"] for one in volume["projected"]["sources"]]
        assert {item["path"] for (item,) in given} == READS[program]
        assert set(files.values()) == {f"/run/secrets/threadkeep/{name}" for name in READS[program]}


def test_no_secret_is_in_a_manifest(everything: list[Manifest]) -> None:
    assert not of_kind(everything, "Secret")
    for _, one in containers(everything):
        assert not {name for name in environment(one) if name in READS["web"] | READS["flower"]}
        assert all("valueFrom" not in each for each in one.get("env", ()))
        assert "envFrom" not in one


def test_a_programs_own_settings_win(render: Render) -> None:
    values: dict[str, Any] = {
        "settings": {"THREADKEEP_SHARDS": "16"},
        "web": {"settings": {"THREADKEEP_SHARDS": "32"}},
    }
    found = {name: environment(one["containers"][0]) for name, one in pods(render(values)).items()}
    assert found["web"]["THREADKEEP_SHARDS"] == "32"
    assert found["migrate"]["THREADKEEP_SHARDS"] == "16"
