"""Renders an invoice, as badly as real plugins do: some fail at first, one always, one takes its process down.

The file `fault` stands for whatever is broken; once it is gone, everything passes.
"""

import os
import signal

import windlass


def render(data, ctx):
    trouble = data.get("trouble") if os.path.exists("fault") else None
    if trouble == "flaky" and ctx.attempt <= 2:
        raise windlass.Retry(f"the printer is warming up (attempt {ctx.attempt})")
    if trouble == "always":
        raise ValueError("the template is missing a field: total")
    if trouble == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"invoice": data["number"], "total": round(data["net"] * 1.19, 2)}
