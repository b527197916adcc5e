"""psycopg2, scene by scene."""

import datetime
import decimal
import io
import select
import threading
import time
import uuid

import psycopg2
import psycopg2.extensions
import psycopg2.extras
from scenes import dsn, play, scene

psycopg2.extras.register_uuid()


def fetch(connection, query, values=None):
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall()


@scene
def session(connection):
    info = connection.info
    return [connection.encoding, info.ssl_in_use, info.parameter_status("DateStyle"), connection.get_transaction_status()]


@scene
def types(connection):
    psycopg2.extras.register_default_jsonb(connection)
    values = (
        decimal.Decimal("1234567890.0123456789"),
        datetime.datetime(2026, 11, 30, 12, 0, 0, 5, datetime.timezone.utc),
        datetime.timedelta(days=2, seconds=5),
        uuid.UUID(int=9),
        [1, None, 3],
        psycopg2.extras.Json({"a": [1, "é"]}),
        b"\x00\x01\xff",
        "quote ' backslash \\ percent %",
        None,
        True,
    )
    query = "SELECT %s, %s, %s, %s, %s::int[], %s::jsonb, %s::bytea, %s, %s, %s"
    return [[bytes(cell) if isinstance(cell, memoryview) else cell for cell in row] for row in fetch(connection, query, values)]


@scene
def rows_as_dictionaries(connection):
    with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        cursor.execute("SELECT id, note FROM notes ORDER BY id")
        return [[column.name, column.type_code] for column in cursor.description], [dict(row) for row in cursor.fetchall()]


@scene
def composites_and_ranges(connection):
    return fetch(connection, "SELECT int4range(1, 5), daterange('2026-01-01', NULL), ROW(1, 'x'), '{\"a\": null}'::json, '(1,2)'::point")


@scene
def transactions(connection):
    seen = []
    with connection:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO notes VALUES (900, 'kept')")
    try:
        with connection:
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO notes VALUES (901, 'gone')")
                cursor.execute("INSERT INTO notes VALUES (900, 'twice')")
    except psycopg2.IntegrityError as error:
        seen.append([error.pgcode, error.diag.constraint_name, error.diag.message_detail])
    connection.set_session(isolation_level="SERIALIZABLE", readonly=True, deferrable=True)
    seen.append(fetch(connection, "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')"))
    try:
        fetch(connection, "DELETE FROM notes RETURNING id")
    except psycopg2.Error as error:
        seen.append(error.pgcode)
    connection.rollback()
    connection.reset()
    seen.append(fetch(connection, "SELECT id FROM notes WHERE id >= 900"))
    return seen


@scene
def two_phase(connection):
    try:
        connection.tpc_begin(connection.xid(1, "chaperone", "clients"))
        fetch(connection, "SELECT 1")
        connection.tpc_prepare()
    except psycopg2.Error as error:
        connection.tpc_rollback()
        return error.pgcode


@scene
def server_cursor(connection):
    with connection.cursor(name="walk", scrollable=True) as cursor:
        cursor.itersize = 6
        cursor.execute("SELECT g FROM generate_series(1, 20) g")
        seen = [cursor.fetchone(), cursor.fetchmany(4)]
        cursor.scroll(-2)
        return seen + [[row for row in cursor]]


@scene
def cursor_with_hold(connection):
    cursor = connection.cursor(name="kept", withhold=True)
    cursor.execute("SELECT id FROM notes ORDER BY id")
    connection.commit()
    rows = cursor.fetchall()
    cursor.close()
    return rows


@scene
def many(connection):
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO notes VALUES (%s, %s)", [(at, f"n{at}") for at in range(300, 310)])
        ids = psycopg2.extras.execute_values(
            cursor, "INSERT INTO notes (id, note) VALUES %s RETURNING id", [(at, None) for at in range(310, 330)], page_size=7, fetch=True
        )
        psycopg2.extras.execute_batch(cursor, "UPDATE notes SET note = %s WHERE id = %s", [("u", at) for at in range(300, 305)], page_size=3)
        cursor.execute("SELECT count(*), count(note) FROM notes WHERE id >= 300")
        return ids, cursor.fetchall()


@scene
def copy_both_ways(connection):
    source = io.StringIO("".join(f"{at}\tcopied {at}\n" for at in range(400, 450)))
    target = io.StringIO()
    with connection.cursor() as cursor:
        cursor.copy_from(source, "notes", columns=("id", "note"))
        cursor.copy_expert("COPY (SELECT * FROM notes WHERE id >= 445 ORDER BY id) TO STDOUT (FORMAT csv, HEADER)", target)
        broken = io.StringIO("x\tnot a number\n")
        try:
            cursor.copy_from(broken, "notes", columns=("id", "note"))
        except psycopg2.Error as error:
            connection.rollback()
            return target.getvalue(), error.pgcode, fetch(connection, "SELECT 1")


@scene
def notices_and_notifications(connection):
    connection.set_isolation_level(psycopg2.extensions.ISOLATION_LEVEL_AUTOCOMMIT)
    with connection.cursor() as cursor:
        cursor.execute("DO $$ BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END $$")
        cursor.execute("LISTEN news")
        cursor.execute("NOTIFY news, 'hello'")
        connection.poll()
        if not connection.notifies:
            select.select([connection], [], [], 5)
            connection.poll()
    return connection.notices, [[note.channel, note.payload] for note in connection.notifies]


@scene
def errors(connection):
    connection.autocommit = True
    seen = []
    for query in ("SELECT no_such_column", "SELECT 1 / 0", "SELEC 1", "SELECT 'x'::int", "", "SELECT 1; SELECT 2"):
        try:
            seen.append(fetch(connection, query))
        except psycopg2.Error as error:
            seen.append([type(error).__name__, error.pgcode, str(error)])
    return seen


@scene
def cancelled(connection):
    connection.autocommit = True
    (pid,) = fetch(connection, "SELECT pg_backend_pid()")[0]

    def cancel():
        with psycopg2.connect(dsn()) as watching:
            while not fetch(watching, "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = 'active' AND query LIKE '%%pg_sleep%%'", (pid,)):
                watching.rollback()
                time.sleep(0.02)
        watching.close()
        connection.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    try:
        fetch(connection, "SELECT pg_sleep(60)")
    except psycopg2.Error as error:
        thread.join()
        return [type(error).__name__, error.pgcode, fetch(connection, "SELECT 'alive'")]


@scene
def asynchronous(_):
    def wait(connection):
        while True:
            state = connection.poll()
            if state == psycopg2.extensions.POLL_OK:
                return
            read, write = ([connection], []) if state == psycopg2.extensions.POLL_READ else ([], [connection])
            select.select(read, write, [], 5)

    connection = psycopg2.connect(dsn(), async_=True)
    wait(connection)
    cursor = connection.cursor()
    cursor.execute("SELECT g, repeat('x', 1000) FROM generate_series(1, 500) g")
    wait(connection)
    rows = cursor.fetchall()
    connection.close()
    return [len(rows), rows[-1][0]]


@scene
def options(_):
    connection = psycopg2.connect(dsn(), options="-c statement_timeout=7s -c search_path=public", application_name="reports")
    seen = fetch(connection, "SELECT current_setting('statement_timeout'), current_setting('application_name')")
    connection.close()
    return seen


@scene
def policy(connection):
    seen = {"masked": [fetch(connection, "SELECT name, ssn FROM people WHERE id = %s", (1,)) for _ in range(3)]}
    try:
        fetch(connection, "DROP TABLE people")
    except psycopg2.Error as error:
        seen["denied"] = [error.pgcode, error.diag.message_primary]
    connection.rollback()
    seen["after"] = fetch(connection, "SELECT count(*) FROM people")[0][0]
    return seen


play(lambda: psycopg2.connect(dsn()), psycopg2.Error, lambda error: [type(error).__name__, error.pgcode, str(error)])
