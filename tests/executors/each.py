"""The suite's plugin as a program per job: data on stdin, output on stdout, log on stderr, class by exit code."""

import json
import os
import sys

import deeds

CODES = {"rejected": 65, "unavailable": 69, "failed": 75, "misconfigured": 78, "timeout": 124, "throttled": 42}


def log(line):
    print(line, file=sys.stderr, flush=True)


try:
    output = deeds.perform(json.load(sys.stdin), log)
except deeds.Fail as failure:
    described = {"class": failure.failure_class, "message": failure.message}
    if failure.after_ms is not None:
        print(json.dumps({"failed": {**described, "retry_after_ms": failure.after_ms}}))
    log(failure.message)
    sys.exit(CODES[failure.failure_class])
except MemoryError:
    os.abort()
if isinstance(output, bytes):
    sys.stdout.buffer.write(output)
else:
    print(json.dumps(output))
