"""How long connections wait: for programs, for answers, and between attempts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Timeouts and delays of connections, in seconds."""

    first_delay: float = 0.5
    """Before the first new attempt after a connection ended; doubled for each next one."""
    longest_delay: float = 30.0
    longest_delay_http: float = 5.0
    """The same for a server that is reached over HTTP: to try one starts no program."""
    second_try: float = 5.0
    """For a server that is down to come up when a call needs it, before the call is answered without it."""
    steady: float = 30.0
    """A connection that held this long is sound: the delays begin anew after it."""
    launch: float = 30.0
    """The least time a started program gets to answer at first: it may have to download itself."""
    first_use: float = 20.0
    """For a user's own connection to come up before their turn goes on without it."""
    check: float = 15.0
    """Between two looks at a server that is reached over HTTP."""
    relist: float = 1.0
    """Between two looks at a server's tools that it says have changed; longer for one that says so again and again."""
    ping: float = 5.0
    """For an answer to a ping, before a server counts as hanging."""
    close: float = 5.0
    """For a polite end of a connection over HTTP."""
    grace: float = 2.0
    """For a program to end by itself, and again to end when it is asked to, before it is killed."""
