#!/usr/bin/env python3
"""One table of what load.py has measured, and how many times one client's tokens per second many clients have.

    report.py FILE…
"""

import json
import sys

import load


def main():
    found = [json.load(open(path)) for path in sys.argv[1:]]
    found.sort(key=lambda cell: (cell["name"], cell["prompt_tokens"] / cell["requests"], cell["clients"] or 0))
    print(load.COLUMNS, f"{'× one':>6}")
    one = {}
    for cell in found:
        kind = cell["name"], round(cell["prompt_tokens"] / cell["requests"])
        if cell["clients"] == 1:
            one[kind] = cell["tokens_per_second"]
        times = f"{cell['tokens_per_second'] / one[kind]:6.2f}" if kind in one else ""
        print(load.row(cell), times)


if __name__ == "__main__":
    main()
