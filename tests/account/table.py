#!/usr/bin/env python3
"""Makes a table of the lines that tests/account/mod.rs prints, from the logs named.

Lines that agree in the first two columns become one row. Fails if a row failed, was never
tried, or has anything that was lost or got in.
"""

import fileinput
import re
import sys

LINE = re.compile(r"account: (.*) \| (.*) \| (\d+) \| (.*) \| (.*) \| (.*)")
LOOKS = re.compile(r"(\d+) of (\d+)")


class Row:
    def __init__(self):
        self.times, self.lost, self.got_in, self.notes = 0, [0, 0], [0, 0], []

    def add(self, times, lost, got_in, note):
        self.times += int(times)
        for looks, text in (self.lost, lost), (self.got_in, got_in):
            if found := LOOKS.fullmatch(text):
                looks[0] += int(found[1])
                looks[1] += int(found[2])
        if note:
            self.notes.append(note)

    def is_good(self):
        has_failed = any("FAILED" in note for note in self.notes)
        return self.times > 0 and self.lost[0] == self.got_in[0] == 0 and not has_failed


def shown(looks):
    return f"{looks[0]:,} of {looks[1]:,}" if looks[1] else "-"


rows = {}
for line in fileinput.input(encoding="utf-8", errors="replace"):
    if found := LINE.search(line):
        faults, what, *rest = found.groups()
        rows.setdefault((faults, what), Row()).add(*rest)

print("| rows | what was tried | times | lost | got in | measured by the way |")
print("|---|---|---:|---:|---:|---|")
for (faults, what), row in sorted(
    rows.items(), key=lambda item: (int(item[0][0].split(",")[0].replace("-", "0")), item[0][1])
):
    lost, got_in = shown(row.lost), shown(row.got_in)
    print(f"| {faults} | {what} | {row.times:,} | {lost} | {got_in} | {'; '.join(row.notes)} |")
sys.exit(not rows or not all(row.is_good() for row in rows.values()))
