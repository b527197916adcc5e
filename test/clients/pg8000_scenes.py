"""pg8000 (pure Python), scene by scene: its native and its DB-API face."""

import datetime
import decimal
import io
import ssl
import uuid

import pg8000.dbapi
import pg8000.native
from scenes import play, scene, way


def options():
    return dict(
        host=way["host"],
        port=way["port"],
        user=way["user"],
        password=way["password"],
        database=way["database"],
        ssl_context=ssl.create_default_context(cafile=way["caFile"]),
    )


def reason(error):
    told = error.args[0] if error.args else {}
    return [type(error).__name__, told.get("C"), told.get("M")] if isinstance(told, dict) else [type(error).__name__, str(error)]


@scene
def session(connection):
    wanted = ("client_encoding", "server_version", "DateStyle")
    return [connection.parameter_statuses.get(name) for name in wanted]


@scene
def types(connection):
    values = dict(
        a=decimal.Decimal("1234567890.0123456789"),
        b=datetime.datetime(2026, 11, 30, 12, 0, 0, 5, datetime.timezone.utc),
        c=datetime.timedelta(days=2, seconds=5),
        d=uuid.UUID(int=9),
        e=[1, None, 3],
        f=b"\x00\x01\xff",
        g="quote ' backslash \\ percent %",
        h=None,
        i=True,
        j=12345678901,
    )
    query = "SELECT :a, CAST(:b AS timestamptz), CAST(:c AS interval), CAST(:d AS uuid), CAST(:e AS int[]), CAST(:f AS bytea), :g, CAST(:h AS text), CAST(:i AS bool), CAST(:j AS bigint), '{\"a\": 1}'::jsonb, '[1,5)'::int4range"
    return connection.run(query, **values), [column["type_oid"] for column in connection.columns]


@scene
def prepared(connection):
    statement = connection.prepare("SELECT id, note FROM notes WHERE id = :id")
    seen = [statement.run(id=at % 3) for at in range(6)]
    statement.close()
    return seen


@scene
def several_statements(connection):
    return connection.run("INSERT INTO notes VALUES (700, 'x'); SELECT note FROM notes WHERE id = 700"), connection.row_count


@scene
def transactions(connection):
    seen = []
    connection.run("BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE")
    connection.run("INSERT INTO notes VALUES (900, 'kept')")
    connection.run("SAVEPOINT here")
    try:
        connection.run("INSERT INTO notes VALUES (900, 'twice')")
    except pg8000.native.DatabaseError as error:
        seen.append(reason(error))
    connection.run("ROLLBACK TO here")
    connection.run("COMMIT")
    seen.append(connection.run("SELECT id FROM notes WHERE id >= 900"))
    return seen


@scene
def copy_both_ways(connection):
    source = io.BytesIO(b"".join(f"{at}\tcopied {at}\n".encode() for at in range(400, 450)))
    connection.run("COPY notes FROM STDIN", stream=source)
    target = io.BytesIO()
    connection.run("COPY (SELECT * FROM notes WHERE id >= 447 ORDER BY id) TO STDOUT WITH (FORMAT csv)", stream=target)
    return target.getvalue()


@scene
def errors(connection):
    seen = []
    for query in ("SELECT no_such_column", "SELECT 1 / 0", "SELEC 1", "SELECT 'x'::int", ""):
        try:
            seen.append(connection.run(query))
        except pg8000.native.DatabaseError as error:
            seen.append(reason(error))
    return seen


@scene
def notices_and_notifications(connection):
    connection.run("DO $$ BEGIN RAISE NOTICE 'one'; END $$")
    connection.run("LISTEN news")
    connection.run("NOTIFY news, 'hello'")
    connection.run("SELECT 1")
    return [notice[b"M"] for notice in connection.notices], [[note[1], note[2]] for note in connection.notifications]


@scene
def dbapi(_):
    connection = pg8000.dbapi.connect(**options())
    cursor = connection.cursor()
    cursor.execute("INSERT INTO notes VALUES (%s, %s) RETURNING id, note", (800, "x"))
    seen = [cursor.fetchall(), cursor.rowcount, cursor.description[0][:2]]
    cursor.executemany("INSERT INTO notes VALUES (%s, %s)", [(at, None) for at in range(801, 810)])
    connection.rollback()
    cursor.execute("SELECT count(*) FROM notes WHERE id >= 800")
    seen.append(cursor.fetchone())
    connection.tpc_begin(connection.xid(1, "chaperone", "clients"))
    cursor.execute("SELECT 1")
    connection.tpc_rollback()
    connection.close()
    return seen


@scene
def policy(connection):
    statement = connection.prepare("SELECT name, ssn FROM people WHERE id = :id")
    seen = {"masked": [connection.run("SELECT name, ssn FROM people WHERE id = :id", id=1), connection.run("SELECT name, ssn FROM people WHERE id = 1")]}
    seen["masked"] += [statement.run(id=1) for _ in range(2)]
    for name, query, values in (("denied", "DROP TABLE people", {}), ("denied with parameters", "DELETE FROM people WHERE id = :id", {"id": 1})):
        try:
            connection.run(query, **values)
        except pg8000.native.DatabaseError as error:
            seen[name] = reason(error)[1:]
    seen["after"] = connection.run("SELECT count(*) FROM people")[0][0]
    return seen


play(lambda: pg8000.native.Connection(**options()), pg8000.native.DatabaseError, reason)
