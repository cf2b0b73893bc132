"""The lock files: pip installs them without looking after dependencies, so nobody else would notice
one that is missing."""

import re
from collections.abc import Set as AbstractSet
from configparser import ConfigParser
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement

import settings

ROOT = Path(settings.__file__).parent
PYTHONS: list[dict[str, str | AbstractSet[str]]] = [
    {"python_version": number, "python_full_version": f"{number}.0", "extra": ""}
    for number in ("3.11", "3.12", "3.13")
]
LEFT_OUT = {"asynch", "numpy", "pandas", "pyarrow"}
FOR_TESTS = {"hypothesis", "mypy", "opentelemetry-sdk", "playwright", "pytest", "ruff"}


def plain(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def pinned(lock: str) -> dict[str, str]:
    lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
    pairs = (line.split(";")[0].split("==") for line in lines if not line.startswith("#"))
    return {plain(name): version for name, version in pairs}


def declared(*lists: str) -> dict[str, Requirement]:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    texts = {**parser["options.extras_require"], "": parser["options"]["install_requires"]}
    lines = [line for name in lists for line in texts[name].splitlines() if line.strip()]
    found = (Requirement(line) for line in lines if not line.startswith("#"))
    return {plain(one.name): one for one in found}


def needed_by(names: set[str]) -> set[str]:
    found = set()
    for name in names:
        # An environment that is older than the lock lacks some.
        try:
            wanted = [Requirement(line) for line in requires(name) or ()]
        except PackageNotFoundError:
            continue
        found |= {
            plain(one.name)
            for one in wanted
            if one.marker is None or any(map(one.marker.evaluate, PYTHONS))
        }
    return found


SERVING, REST = pinned("requirements.lock"), pinned("requirements-dev.lock")
DEPLOY = pinned("requirements-deploy.lock")


def test_what_serving_needs_is_pinned_and_nothing_of_the_tests() -> None:
    assert needed_by(set(SERVING)) - LEFT_OUT <= set(SERVING)
    assert not set(SERVING) & (LEFT_OUT | FOR_TESTS)


def test_the_rest_is_pinned_once_and_completes_it() -> None:
    assert not set(SERVING) & set(REST)
    assert set(REST) >= FOR_TESTS
    assert needed_by(set(REST)) - LEFT_OUT <= {*SERVING, *REST}


def test_what_reads_the_files_of_deploy_is_beside_both() -> None:
    assert not set(DEPLOY) & {*SERVING, *REST}
    assert needed_by(set(DEPLOY)) <= {*SERVING, *REST, *DEPLOY}
    for name, one in declared("deploy").items():
        assert one.specifier.contains({**REST, **DEPLOY}[name]), name


def test_the_pins_are_what_the_package_declares() -> None:
    serving, everything = declared("", "embedded"), {**SERVING, **REST}
    assert set(serving) <= set(SERVING)
    for name, one in (serving | declared("otel", "dev")).items():
        assert one.specifier.contains(everything[name]), name
