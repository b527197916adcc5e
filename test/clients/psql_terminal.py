"""psql at a terminal: a statement that sleeps, ctrl-C while it runs, and the session goes on. Prints what the screen showed as JSON.

usage: psql_terminal.py psql-binary file; the connection is in libpq's environment variables. Whoever sees the statement run at the
server makes the file.
"""

import json
import os
import pty
import re
import select
import sys
import time

deadline = time.monotonic() + 30


def read_until(terminal, pattern, screen):
    while not re.search(pattern, screen[0]):
        if time.monotonic() > deadline:
            raise SystemExit(f"psql did not show {pattern!r}:\n{screen[0]}")
        ready, _, _ = select.select([terminal], [], [], 1)
        if ready:
            screen[0] += os.read(terminal, 65536).decode().replace("\r\n", "\n")


child, terminal = pty.fork()
if child == 0:
    os.environ["LD_PRELOAD"] = os.environ.pop("PSQL_PRELOAD", "")
    os.execv(sys.argv[1], [sys.argv[1], "-X", "-q", "--pset=pager=off"])
shown = []
screen = [""]
read_until(terminal, r"postgres=[#>] $", screen)
for command, started in (
    ("SELECT 'before';\n", None),
    ("SELECT 'sleeps' FROM pg_sleep(60);\n", "pg_sleep"),
    ("SELECT 'after';\n", None),
    ("BEGIN;\n", None),
    ("SELECT 'sleeps' FROM pg_sleep(60);\n", "pg_sleep"),
    ("SELECT 'in a failed transaction';\n", None),
    ("ROLLBACK;\n", None),
    ("SELECT 'alive';\n", None),
):
    screen = [""]
    os.write(terminal, command.encode())
    if started:
        while not os.path.exists(sys.argv[2]):
            if time.monotonic() > deadline:
                raise SystemExit("nobody saw the statement run")
            time.sleep(0.02)
        os.unlink(sys.argv[2])
        os.write(terminal, b"\x03")
    read_until(terminal, r"\npostgres=[*!]?[#>] $", screen)
    shown.append(screen[0])
os.write(terminal, b"\\q\n")
os.waitpid(child, 0)
print(json.dumps(shown))
