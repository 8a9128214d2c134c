"""What the plugins of the conformance suite can be told to do, good and bad; the same for every kind of plugin."""

import os
import signal
import subprocess
import sys
import time

jobs_done = 0
loaded = time.time()


class Fail(Exception):
    """A failure to report in whatever way the kind of plugin has for it."""

    def __init__(self, failure_class, message="as it was told", after_ms=None):
        super().__init__(message)
        self.failure_class, self.message, self.after_ms = failure_class, message, after_ms


def daemon():
    """Leaves everything it can leave: parent, session and group."""
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(write_end, b"%d\n" % os.getpid())
            time.sleep(600)
        os._exit(0)
    os.close(write_end)
    return int(os.read(read_end, 100))


def allocate(size):
    held = bytearray(size)
    return len(held)


def perform(data, log):
    global jobs_done
    jobs_done += 1
    deed, value = data["do"], data.get("value")
    if deed == "echo":
        return value
    if deed == "bytes":
        return bytes(value)
    if deed == "text":
        return "x" * value
    if deed == "fail":
        raise Fail(**value)
    if deed == "log":
        for line in value:
            log(line)
        return None
    if deed == "print":
        print("printed", value, file=sys.stderr if data.get("stderr") else sys.stdout, flush=True)
        return value
    if deed == "environment":
        return dict(os.environ)
    if deed == "directory":
        return os.getcwd()
    if deed == "process":
        return {"pid": os.getpid(), "jobs": jobs_done, "loaded": loaded}
    if deed == "sleep":
        log("sleeping")
        time.sleep(600)
    if deed == "stubborn":
        time.sleep(600)
    if deed == "gate":
        log("at the gate")
        while not os.path.exists(value):
            time.sleep(0.001)
        return None
    if deed == "family":
        child = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
        log(f"pids {os.getpid()} {child.pid} {child.stdout.readline().strip()}")
        time.sleep(600)
    if deed == "background":
        return [subprocess.Popen(["sleep", "600"]).pid]
    if deed == "daemon":
        return [daemon()]
    if deed == "die":
        log("dying")
        os.kill(os.getpid(), getattr(signal, value))
        time.sleep(600)
    if deed == "exit":
        print("no more", file=sys.stderr, flush=True)
        os._exit(value)
    if deed == "allocate":
        return allocate(value)
    if deed == "spin":
        while True:
            pass
    raise Fail("misconfigured", f"there is no deed {deed!r}")
