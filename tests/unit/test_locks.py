"""The lock files: pip installs them without looking after dependencies, so nobody else would notice
one that is missing; and only files whose hash they have."""

import re
import tomllib
from collections.abc import Set as AbstractSet
from configparser import ConfigParser
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import settings

ROOT = Path(settings.__file__).parent
PYTHONS: list[dict[str, str | AbstractSet[str]]] = [
    {"python_version": number, "python_full_version": f"{number}.0", "extra": ""}
    for number in ("3.11", "3.12", "3.13")
]
LOCKS = tuple(f"requirements{part}.lock" for part in ("", "-dev", "-bench", "-deploy"))
LEFT_OUT = {"asynch", "ciso8601", "numpy", "pandas", "pyarrow"}
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
FOR_TESTS = {"hypothesis", "mypy", "opentelemetry-sdk", "playwright", "pytest", "ruff"}


def plain(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def pinned(lock: str) -> dict[str, str]:
    pairs = (pin[0].split(";")[0].split("==") for pin in pins(lock))
    return {plain(name): version.strip() for name, version in pairs}


def pins(lock: str) -> list[list[str]]:
    """The words of each pin: the pin with its marker, and its options."""
    text = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [re.split(r"\s+(?=--)", line.strip()) for line in lines]


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


SERVING, REST, PEERS, DEPLOY = map(pinned, LOCKS)


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


def test_peers_are_pinned_beside_the_rest() -> None:
    assert not set(PEERS) & {*SERVING, *REST}
    for name, one in declared("bench").items():
        assert one.specifier.contains(PEERS[name]), name
    assert needed_by(set(PEERS)) - LEFT_OUT <= {*PEERS, *SERVING, *REST}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes_and_nothing_says_where_to_fetch_it(lock: str) -> None:
    for pin, *options in pins(lock):
        assert re.fullmatch(r"[\w.-]+==[\w.]+( ; .+)?", pin), pin
        assert options, pin
        assert all(map(HASH.fullmatch, options)), pin
        assert len(set(options)) == len(options), pin
    assert "://" not in (ROOT / lock).read_text(encoding="utf-8")


def test_pip_takes_nothing_without_its_hash() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    installs = [line for line in text.splitlines() if "--requirement requirements" in line]
    assert len(installs) == len(LOCKS)
    assert all("--require-hashes --no-deps" in line for line in installs)


def test_what_builds_the_package_is_the_pin() -> None:
    built = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
    (one,) = map(Requirement, built["requires"])
    assert one.specifier.contains(SERVING[one.name])


def test_what_is_left_out_is_left_out_on_purpose() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    named = set(tools["uv"]["pip"]["no-emit-package"])
    assert named - {"colorama", "tzdata"} == LEFT_OUT
    assert not named & {*SERVING, *REST, *PEERS, *DEPLOY}
