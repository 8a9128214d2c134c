"""What a plugin prints, line by line, to the log of the job that printed it."""

import io

__all__ = ["LogStream"]


class LogStream(io.TextIOBase):
    """Stands for sys.stdout or sys.stderr: hands whole lines to the host's log, with the run they belong to.

    What is printed outside of any run goes on to the stream that was there before.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, before):
        super().__init__()
        self.host = None
        self._before = before
        self._partial = {}

    def writable(self):
        return True

    def write(self, text):
        run_id = self.host and self.host.current_run()
        if run_id is None:
            self._before.write(text)
            self._before.flush()
            return len(text)
        *lines, rest = (self._partial.pop(run_id, "") + text).split("\n")
        for line in lines:
            self.host.log(run_id, line)
        if rest:
            self._partial[run_id] = rest
        return len(text)

    def finish(self, run_id):
        """Hands over a last line without an end."""
        if self._partial:
            rest = self._partial.pop(run_id, "")
            if rest:
                self.host.log(run_id, rest)

    def flush(self):
        pass

    def isatty(self):
        return False

    def fileno(self):
        """The true descriptor: programs that the plugin starts write there."""
        return self._before.fileno()

    @property
    def buffer(self):
        return self._before.buffer
