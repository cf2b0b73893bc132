"""What Prometheus would read of a process."""

from prometheus_client.parser import text_string_to_metric_families

from support.calls.api import Api


class Scraped(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """Values by name, without its beginning, and labels."""

    def of(self, name: str, **labels: str) -> float:
        """The sum of everything of this name that has these labels; fails where there is none."""
        found = [
            value
            for (known, given), value in self.items()
            if known == f"threadkeep_{name}" and labels.items() <= set(given)
        ]
        assert found, f"there is no {name} with {labels}"
        return sum(found)

    def has(self, name: str) -> bool:
        """Whether there is anything of this name."""
        return any(known == f"threadkeep_{name}" for known, _ in self)


def parsed(text: str) -> Scraped:
    """The text as values."""
    return Scraped(
        ((one.name, frozenset(one.labels.items())), one.value)
        for family in text_string_to_metric_families(text)
        for one in family.samples
    )


def scraped(api: Api) -> Scraped:
    """What a process says now."""
    reply = api.get("/metrics")
    assert reply.status_code == 200, reply.text
    assert reply.headers["Content-Type"].startswith("text/plain; version=")
    return parsed(reply.text)
