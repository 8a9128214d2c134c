"""Counts the words of a text; a class, so that what is expensive happens once per process."""

import re
from collections import Counter


class Words:
    def __init__(self):
        self.word = re.compile(r"[a-z']+")

    def run(self, data):
        with open(data["file"], encoding="utf-8") as file:
            words = Counter(self.word.findall(file.read().lower()))
        return {"words": sum(words.values()), "most": words.most_common(data.get("most", 3))}
