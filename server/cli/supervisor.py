"""uvicorn's supervisor of several workers, which also sees at once that a worker died before it answered."""

from __future__ import annotations

from uvicorn.supervisors import Multiprocess


class Supervisor(Multiprocess):
    """Starts the workers, and starts one anew when it dies."""

    def keep_subprocess_alive(self) -> None:
        """Asks each worker over a pipe whether it lives, and waits for the answer.

        uvicorn keeps the worker's end of that pipe open in this process too, so that one that dies in between leaves
        no end of file: all this process would do for `timeout_worker_healthcheck` seconds is wait, neither replacing
        anybody nor ending when told to.
        """
        for process in self.processes:
            process.child_conn.close()  # the worker has its own
        super().keep_subprocess_alive()
