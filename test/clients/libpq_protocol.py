"""PostgreSQL 18's libpq at each protocol version: what it speaks, whether its cancel works, and what it says of options we do not serve."""
import json
import sys
import threading
import time

import psycopg

dsn = sys.argv[1]
results = {}
for version in ("3.0", "3.2"):
    with psycopg.connect(f"{dsn} min_protocol_version={version} max_protocol_version={version}") as conn:
        cancelled = threading.Thread(target=lambda: (time.sleep(0.3), conn.cancel_safe()))
        cancelled.start()
        try:
            conn.execute("SELECT pg_sleep(60)")
            ended = "it slept on"
        except psycopg.errors.QueryCanceled as error:
            ended = error.sqlstate
        cancelled.join()
        conn.rollback()
        after = conn.execute("SELECT 1").fetchone()[0]
        results[version] = {"ended": ended, "after": after}
for option in ("channel_binding=require", "require_auth=scram-sha-256"):
    try:
        psycopg.connect(f"{dsn} {option}").close()
        results[option] = "connected"
    except psycopg.OperationalError as error:
        results[option] = str(error).splitlines()[-1]
print(json.dumps(results))
