"""Sums a column of a CSV file, by another column."""

import csv
from collections import defaultdict


def summarise(data, ctx):
    totals = defaultdict(float)
    with open(data["file"], newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), 1):
            totals[row[data["by"]]] += float(row[data["sum"]])
    ctx.log(f"{number} rows, {len(totals)} groups")
    return {key: round(total, 2) for key, total in sorted(totals.items())}
