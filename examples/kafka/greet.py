"""Greets; whoever is shy needs a second try, and nobody is not greeted at all."""

import windlass


def greet(data, ctx):
    name = data["name"]
    if name == "shy" and ctx.attempt == 1:
        raise windlass.Retry("not yet", after=1)
    if name == "nobody":
        raise windlass.Reject("there is nobody to greet")
    return {"greeting": f"Hello, {name}!"}
