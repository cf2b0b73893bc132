"""Keeps child processes running, and ends every one of them in order."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from embedded.errors import StackError
from embedded.supervision.leftovers import STACK_VARIABLE, PidFile
from embedded.supervision.process import Child, Spec, turn_over

FIRST_BACKOFF_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 5.0
HEALTHY_AFTER_SECONDS = 30.0
STOP_POLL_SECONDS = 0.02


@dataclass
class _Slot:
    """A program's place: its current child, or the moment its next one is due."""

    child: Child
    backoff: float = FIRST_BACKOFF_SECONDS
    due_at: float | None = None


class Supervisor:
    """Runs programs by name. Use it from the main thread only, as `process` says."""

    def __init__(self, logs: Path, pid_file: PidFile, stack: str) -> None:
        """`stack` marks the environment of every child, to recognise it after a crash."""
        self._logs = logs
        self._pid_file = pid_file
        self._mark = {STACK_VARIABLE: stack}
        self._slots: dict[str, _Slot] = {}
        self.on_event: Callable[[str], object] = lambda line: None

    def start(self, spec: Spec) -> None:
        """Start a program and keep it running from now on.

        Raises:
            StackError: The name is taken, or the program cannot be executed.
        """
        if spec.name in self._slots:
            raise StackError(f"there are two programs named {spec.name}")
        turn_over(self.log_of(spec.name))
        try:
            child = self._spawn(spec)
        except OSError as error:
            raise StackError(f"{spec.name} does not start: {error}") from error
        self._slots[spec.name] = _Slot(child)
        self._record()

    def log_of(self, name: str) -> Path:
        """Return the file that holds what a program prints."""
        return self._logs / f"{name}.log"

    def pids(self) -> dict[str, int]:
        """Return name -> pid of every program that runs at this moment. Any thread may ask."""
        return {
            name: slot.child.pid
            for name, slot in list(self._slots.items())
            if slot.due_at is None and slot.child.status() is None
        }

    def names(self) -> list[str]:
        """Return the names of all programs, including those that wait for their restart."""
        return list(self._slots)

    @property
    def all_run(self) -> bool:
        """Whether no program waits for its restart."""
        return all(slot.due_at is None for slot in self._slots.values())

    def has_ended(self, name: str) -> bool:
        """Tell whether a program's current process has ended."""
        return self._slots[name].child.status() is not None

    def forget(self, name: str) -> int | None:
        """Forget a program that has ended by itself, and return its exit status."""
        child = self._slots.pop(name).child
        self._record()
        return child.status()

    def poll(self) -> list[str]:
        """Notice what died, restart what is due, and return the names that were restarted.

        Rotates large logs.
        """
        now = time.monotonic()
        restarted = []
        for name, slot in self._slots.items():
            turn_over(self.log_of(name))
            if slot.due_at is None and slot.child.status() is not None:
                self._bury(name, slot, now)
            if slot.due_at is not None and now >= slot.due_at and self._revive(name, slot):
                restarted.append(name)
        return restarted

    def end_silent(self, names: Iterable[str]) -> None:
        """Kill programs that do not answer; the next `poll` restarts them like any that died."""
        for name in names:
            child = self._slots[name].child
            if child.status() is None:
                self.on_event(f"{name} does not answer and is killed")
                child.kill_rest()

    def stop(self, names: Iterable[str], seconds: float) -> None:
        """Ask programs to end, kill after `seconds` what has not, and forget them."""
        slots = {name: self._slots[name] for name in names if name in self._slots}
        for slot in slots.values():
            slot.child.ask_to_stop()
        end = time.monotonic() + seconds
        while time.monotonic() < end and any(s.child.status() is None for s in slots.values()):
            time.sleep(STOP_POLL_SECONDS)
        for name, slot in slots.items():
            if slot.child.status() is None:
                self.on_event(f"{name} did not stop within {seconds:g} s and was killed")
            slot.child.kill_rest()
            del self._slots[name]
        if slots:
            self._record()

    def _spawn(self, spec: Spec) -> Child:
        return Child(spec, self.log_of(spec.name), self._mark)

    def _bury(self, name: str, slot: _Slot, now: float) -> None:
        if now - slot.child.started_at >= HEALTHY_AFTER_SECONDS:
            slot.backoff = FIRST_BACKOFF_SECONDS
        # Workers that outlive their leader would work beside the next ones, and PostgreSQL
        # refuses to start while a single one of its old processes is attached.
        slot.child.kill_rest()
        slot.due_at = now + slot.backoff
        status = slot.child.status()
        self.on_event(f"{name} ended with status {status}, restart in {slot.backoff:g} s")
        slot.backoff = min(slot.backoff * 2, LONGEST_BACKOFF_SECONDS)
        self._record()

    def _revive(self, name: str, slot: _Slot) -> bool:
        try:
            slot.child.spec.prepare()
            slot.child = self._spawn(slot.child.spec)
        except (OSError, StackError) as error:
            slot.due_at = time.monotonic() + slot.backoff
            self.on_event(f"{name} could not be restarted: {error}")
            return False
        slot.due_at = None
        self.on_event(f"{name} was restarted as process {slot.child.pid}")
        self._record()
        return True

    def _record(self) -> None:
        self._pid_file.write(slot.child for slot in self._slots.values() if slot.due_at is None)
