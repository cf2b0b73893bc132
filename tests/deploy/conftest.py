"""The files of deploy/, as the programs that take them read them."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import settings

ROOT = Path(settings.__file__).parent
DEPLOY = ROOT / "deploy"
PAGE = ROOT / "docs" / "deploying.md"
COMPOSE = DEPLOY / "compose.yaml"
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")
CHART = DEPLOY / "helm" / "threadkeep"
Manifest = dict[str, Any]
Render = Callable[[Manifest], list[Manifest]]

TIERS = {"REDIS_URL", "DATABASE_URL", "CLICKHOUSE_URL"}
READS = {
    "web": {*TIERS, "CELERY_BROKER_URL", "THREADKEEP_JWT_SECRET", "THREADKEEP_METRICS_TOKEN"},
    "realtime": {*TIERS, "CELERY_BROKER_URL", "THREADKEEP_JWT_SECRET", "THREADKEEP_METRICS_TOKEN"},
    "worker": {*TIERS, "CELERY_BROKER_URL"},
    "beat": {*TIERS, "CELERY_BROKER_URL"},
    "flower": {"CELERY_BROKER_URL", "FLOWER_BASIC_AUTH"},
    "migrate": TIERS,
}
"""The secrets that each program is given, and no other."""

EVERYTHING: Manifest = {
    "image": {"digest": "sha256:" + "ab" * 32, "pullSecrets": [{"name": "registry"}]},
    "settings": {"THREADKEEP_SHARDS": "32", "OTEL_SERVICE_NAME": "threadkeep"},
    "web": {
        "settings": {"WEB_WORKERS": "4"},
        "volumes": [{"name": "keys", "configMap": {"name": "keys"}}],
        "volumeMounts": [{"name": "keys", "mountPath": "/keys"}],
        "podAnnotations": {"team": "chat"},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "chat", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "service": {"annotations": {"zone": "a"}},
    },
    "worker": {
        "autoscaling": {
            "metrics": [
                {
                    "type": "External",
                    "external": {
                        "metric": {"name": "threadkeep_queue_oldest_seconds"},
                        "target": {"type": "Value", "value": "10"},
                    },
                }
            ]
        }
    },
    "flower": {"enabled": True},
    "networkPolicy": {
        "ingress": {
            "web": {"from": [{"namespaceSelector": {"matchLabels": {"name": "edge"}}}]},
            "metrics": {"from": [{"namespaceSelector": {"matchLabels": {"name": "watch"}}}]},
        },
        "egress": {
            "redis": {"to": [{"ipBlock": {"cidr": "192.0.2.1/32"}}]},
            "identity": {"ports": [443]},
            "webhook": {"ports": [443]},
            "traces": {"ports": [4318]},
        },
    },
    "metrics": {
        "token": {"name": "threadkeep-metrics"},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    },
    "extraObjects": [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": '{{ include "threadkeep.name" $ }}'},
            "spec": {"rules": []},
        }
    ],
}
"""Values that switch on everything that is off by default."""


@pytest.fixture(scope="session")
def render() -> Iterator[Render]:
    """Renders the chart with values, as an upgrade of a release `demo` of the namespace `chat`."""
    helm = pytest.importorskip(
        "helm_python", reason="Helm's renderer has no wheel for this machine"
    )
    with helm.Chart.load(str(CHART)) as chart:

        def rendered(values: Manifest) -> list[Manifest]:
            chart.validate_schema(values)
            files = chart.render(values, name="demo", namespace="chat")
            texts = [text for name, text in files.items() if not name.endswith("NOTES.txt")]
            return [one for text in texts for one in yaml.safe_load_all(text) if one]

        yield rendered


@pytest.fixture(scope="session")
def default(render: Render) -> list[Manifest]:
    """What the chart makes of its default values."""
    return render({})


@pytest.fixture(scope="session")
def everything(render: Render) -> list[Manifest]:
    """What the chart makes with everything switched on."""
    return render(EVERYTHING)


@pytest.fixture(scope="session")
def schema() -> Manifest:
    """The schema of the chart's values."""
    text = (CHART / "values.schema.json").read_text(encoding="utf-8")
    found: Manifest = json.loads(text)
    return found


@pytest.fixture(scope="session")
def compose() -> Manifest:
    """The file, with its anchors followed and its variables replaced by their defaults."""
    text = VARIABLE.sub(lambda found: found[2], COMPOSE.read_text(encoding="utf-8"))
    found: Manifest = yaml.safe_load(text)
    return found


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as deploy/secrets.sh makes it."""
    folder = tmp_path_factory.mktemp("compose") / "secrets"
    subprocess.run([DEPLOY / "secrets.sh", folder], check=True, timeout=20)
    return folder


def of_kind(manifests: list[Manifest], *kinds: str) -> dict[str, Manifest]:
    """Those of these kinds, by the last word of their names."""
    return {
        one["metadata"]["name"].rpartition("-")[2]: one for one in manifests if one["kind"] in kinds
    }


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The specifications of all pods, by program."""
    found = of_kind(manifests, "Deployment", "Job")
    return {name: one["spec"]["template"]["spec"] for name, one in found.items()}
