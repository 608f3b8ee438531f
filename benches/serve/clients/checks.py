"""Checks that go on after one of them fails, and a table of how they went."""

import sys
import traceback

CHECKS = []


def check(function):
    """Marks a check; the first line of its description names it in the table."""
    CHECKS.append(function)
    return function


def run(title, *arguments):
    """Runs all checks, and ends the program: with status 0 if they hold."""
    failed = 0
    for function in CHECKS:
        name = (function.__doc__ or function.__name__).strip().split("\n")[0]
        try:
            said = function(*arguments)
            print(f"{title:10} ok    {name}" + (f" ({said})" if said else ""), flush=True)
        except Exception as error:  # A check may fail in any way; the table tells how.
            failed += 1
            where = traceback.extract_tb(error.__traceback__)
            line = next((frame.lineno for frame in reversed(where) if frame.filename == sys.argv[0]), where[-1].lineno)
            print(f"{title:10} FAIL  {name}: line {line}: {type(error).__name__}: {str(error)[:400]}", flush=True)
    print(f"{title:10} {len(CHECKS) - failed} of {len(CHECKS)}")
    sys.exit(1 if failed else 0)
