"""A function of AWS Lambda: what so many of an item cost."""

PRICES = {"tea": 4, "coffee": 7}


class Unknown(Exception):
    pass


def handle(event, context):
    print("asked for", event["item"])
    if event["item"] not in PRICES:
        raise Unknown(f"we do not sell {event['item']}")
    return {"total": PRICES[event["item"]] * event.get("count", 1)}
