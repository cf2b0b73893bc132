"""Progress bars on stderr: for one task, and for work in stages, each with its own count."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


@contextmanager
def stage_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr; gives its update, called with the stage, the count done and the total."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        stages: dict[str, TaskID] = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                for earlier in stages.values():
                    progress.stop_task(earlier)
                stages[stage] = progress.add_task(stage, total=total or None)
            progress.update(stages[stage], completed=done, total=total or None)

        yield tell


@contextmanager
def progress_bar(title: str, total: int | None) -> Iterator[Progress]:
    """A bar of one task on stderr, on a terminal only."""
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        bar.add_task(title, total=total)
        yield bar
