"""The worker of gunicorn that serves sockets."""

from typing import Any

import gevent
from gunicorn.workers.ggevent import GeventWorker

from webapp.realtime import process

DISMISS_SECONDS = 1.5


class RealtimeWorker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types.
    """Lets sockets be taken over, and says goodbye to all of them when it is told to stop."""

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answers one request, after which the connection may be somebody else's."""
        super().handle_request(listener_name, req, sock, addr)
        if sock.fileno() < 0:
            raise StopIteration

    def handle_exit(self, sig: Any, frame: Any) -> None:
        """Told to stop: nobody new is let in, and who is here is told to come back."""
        super().handle_exit(sig, frame)
        # A signal comes at any moment, and nothing in its handler may wait.
        gevent.spawn(self._dismiss)

    def _dismiss(self) -> None:
        if self.booted:
            process.of(self.wsgi).guests.dismiss(DISMISS_SECONDS)

    def run(self) -> None:
        """Serves until told to stop, and returns when everyone has left."""
        super().run()
        self._dismiss()
