"""Monthly reports out of a list of sales."""

import windlass


class Reports:
    def __init__(self, currency):
        self.currency = currency

    def run(self, data, ctx):
        sales = data.get("sales")
        if not sales:
            raise windlass.Reject("a report needs sales")
        if data.get("wobbly") and ctx.attempt == 1:
            raise windlass.Retry("the ledger is being written", after=0.1)
        print(f"{len(sales)} sales")  # a print is a log line of this job
        ctx.progress({"sales": len(sales)})
        return {"month": data["month"], "total": round(sum(sales), 2), "currency": self.currency}
