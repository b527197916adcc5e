"""What an application does with psycopg 3, scene by scene; prints one JSON object of scene -> result, to be compared with the same run elsewhere."""

import asyncio
import datetime
import decimal
import json
import sys
import uuid

import psycopg
from psycopg.types.json import Jsonb

dsn = sys.argv[1]
scenes = {}


def scene(play):
    scenes[play.__name__] = play
    return play


def sqlstate(error):
    return {"error": error.sqlstate, "message": error.diag.message_primary}


def text(rows):
    return [[value if isinstance(value, (int, str, list, dict, type(None), bool)) else repr(value) for value in row] for row in rows]


@scene
def parameters(connection):
    return text(connection.execute("SELECT %s::int + 1, %s::text, %s::bytea", (41, "it's \u00e9", b"\x00\xff")).fetchall())


@scene
def types(connection):
    values = (
        decimal.Decimal("12345678901234567890.123456789"),
        datetime.datetime(2026, 11, 30, 12, 0, 0, 123456, datetime.timezone.utc),
        datetime.date(2026, 1, 2),
        uuid.UUID(int=7),
        [1, 2, None],
        Jsonb({"a": [1, {"b": None}]}),
        float("inf"),
        None,
    )
    query = "SELECT %s::numeric, %s::timestamptz, %s::date, %s::uuid, %s::int[], %s::jsonb, %s::float8, %s::text"
    return [text(connection.execute(query, values, binary=binary).fetchall()) for binary in (False, True)]


@scene
def prepared(connection):
    seen = []
    for at in range(12):
        row = connection.execute("SELECT id, note FROM notes WHERE id = %s", (at % 4,), prepare=True).fetchone()
        seen.append(row and list(row))
    return seen


@scene
def binary_rows(connection):
    with connection.cursor(binary=True) as cursor:
        return text(cursor.execute("SELECT g, g::text, g::numeric FROM generate_series(1, 50) g").fetchall())


@scene
def many(connection):
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO notes VALUES (%s, %s) RETURNING id", [(at, f"note {at}") for at in range(100, 120)], returning=True)
        ids = []
        while True:
            ids.append(cursor.fetchone()[0])
            if not cursor.nextset():
                return ids


@scene
def transactions(connection):
    try:
        with connection.transaction():
            connection.execute("INSERT INTO notes VALUES (900, 'kept?')")
            try:
                with connection.transaction():
                    connection.execute("INSERT INTO notes VALUES (901, 'gone')")
                    raise ValueError("inner")
            except ValueError:
                pass
            connection.execute("INSERT INTO notes VALUES (900, 'twice')")
    except psycopg.Error as error:
        return [sqlstate(error), connection.execute("SELECT count(*) FROM notes WHERE id >= 900").fetchone()[0]]


@scene
def pipeline(connection):
    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::int * 2", (at,)) for at in range(30)]
        return [cursor.fetchone()[0] for cursor in cursors]


@scene
def pipeline_with_an_error(connection):
    results = []
    try:
        with connection.pipeline() as pipe:
            results.append(connection.execute("SELECT 1"))
            pipe.sync()
            connection.execute("SELECT 1 / 0")
            connection.execute("INSERT INTO notes VALUES (950, 'never')")
            pipe.sync()
    except psycopg.Error as error:
        return [sqlstate(error), connection.execute("SELECT count(*) FROM notes WHERE id = 950").fetchone()[0]]


@scene
def server_cursor(connection):
    with connection.transaction():
        with connection.cursor(name="walk") as cursor:
            cursor.itersize = 7
            cursor.execute("SELECT g FROM generate_series(1, 40) g")
            return [row[0] for row in cursor]


@scene
def copy_both_ways(connection):
    with connection.cursor() as cursor:
        with cursor.copy("COPY notes (id, note) FROM STDIN") as copy:
            for at in range(200, 260):
                copy.write_row((at, None if at % 7 == 0 else f"copied \t {at}"))
        with cursor.copy("COPY (SELECT id, note FROM notes WHERE id BETWEEN 200 AND 260 ORDER BY id) TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            return text(copy.rows())


@scene
def errors(connection):
    seen = []
    for query in ("SELECT no_such_column", "SELECT 1 / 0", "SELEC 1", "SELECT 'x'::int"):
        try:
            connection.execute(query)
        except psycopg.Error as error:
            seen.append([type(error).__name__, error.sqlstate])
    return seen


@scene
def large(connection):
    row = connection.execute("SELECT length(%s::text), repeat('y', 3000000)", ("x" * 3_000_000,)).fetchone()
    return [row[0], len(row[1])]


@scene
def cancelled(connection):
    async def work():
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as waiting:
            sleeping = asyncio.create_task(waiting.execute("SELECT pg_sleep(60)"))
            for _ in range(100):
                (running,) = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(60)'"
                ).fetchone()
                if running:
                    break
                await asyncio.sleep(0.05)
            await waiting.cancel_safe()
            try:
                await sleeping
            except psycopg.Error as error:
                return [error.sqlstate, text(await (await waiting.execute("SELECT 'alive'")).fetchall())]

    return asyncio.run(work())


@scene
def asynchronous(_):
    async def work():
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            cursor = await connection.execute("SELECT g FROM generate_series(1, 5) g")
            return text(await cursor.fetchall())

    return asyncio.run(work())


@scene
def notifications(connection):
    connection.execute("LISTEN news")
    connection.execute("SELECT pg_notify('news', 'hello')")
    return [[note.channel, note.payload] for note in connection.notifies(timeout=5, stop_after=1)]


def main():
    wanted = sys.argv[2:] or list(scenes)
    results = {}
    with psycopg.connect(dsn, autocommit=True) as connection:
        results["session"] = [connection.info.parameter_status("client_encoding"), connection.pgconn.ssl_in_use]
        for name in wanted:
            try:
                results[name] = scenes[name](connection)
            except psycopg.Error as error:
                results[name] = sqlstate(error)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
