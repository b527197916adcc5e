"""What psycopg 3 meets where a policy speaks: refusals, masks, a connection that goes on. Prints JSON."""

import json
import sys

import psycopg

with psycopg.connect(sys.argv[1]) as connection:
    seen = {}
    for prepare in (False, True):
        for binary in (False, True):
            with connection.cursor(binary=binary) as cursor:
                rows = [cursor.execute("SELECT name, ssn FROM people WHERE id = %s", (1,), prepare=prepare).fetchone() for _ in range(8)]
                seen[f"masked, prepare={prepare}, binary={binary}"] = rows
    connection.commit()
    try:
        connection.execute("DROP TABLE people")
    except psycopg.Error as error:
        seen["denied"] = [type(error).__name__, error.sqlstate, error.diag.message_primary]
    seen["state"] = connection.info.transaction_status.name
    connection.rollback()
    seen["after"] = connection.execute("SELECT count(*) FROM people").fetchone()[0]
    with connection.pipeline() as pipe:
        try:
            connection.execute("SELECT 1")
            connection.execute("DELETE FROM people")
            connection.execute("SELECT 2")
            pipe.sync()
        except psycopg.Error as error:
            seen["denied in a pipeline"] = error.sqlstate
    connection.rollback()
    seen["at the end"] = connection.execute("SELECT count(*) FROM people").fetchone()[0]
print(json.dumps(seen))
