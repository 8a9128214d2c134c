"""Greets; whoever is shy needs a second try."""

import windlass


def greet(data, ctx):
    name = data["name"]
    if name == "shy" and ctx.attempt == 1:
        raise windlass.Retry("not yet", after=1)
    return {"greeting": f"Hello, {name}!"}
