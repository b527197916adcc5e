"""asyncpg, scene by scene."""

import asyncio
import datetime
import decimal
import io
import ssl
import uuid

import asyncpg
from scenes import play, scene, way


def connecting(**more):
    context = ssl.create_default_context(cafile=way["caFile"])
    return dict(
        host=way["host"], port=way["port"], user=way["user"], password=way["password"], database=way["database"], ssl=context, **more
    )


def with_connection(work):
    async def run():
        connection = await asyncpg.connect(**connecting())
        try:
            return await work(connection)
        finally:
            await connection.close()

    def played(_):
        return asyncio.run(run())

    played.__name__ = work.__name__
    return scene(played)


def tuples(rows):
    return [tuple(row) for row in rows]


@with_connection
async def session(connection):
    settings = connection.get_settings()
    version = connection.get_server_version()
    return [settings.client_encoding, settings.server_version, version.major, connection.is_in_transaction()]


@with_connection
async def types(connection):
    values = (
        decimal.Decimal("12345678901234567890.123456789"),
        datetime.datetime(2026, 11, 30, 12, 0, 0, 123456, datetime.timezone.utc),
        datetime.date(2026, 1, 2),
        datetime.timedelta(days=3, microseconds=4),
        uuid.UUID(int=7),
        [1, 2, None],
        '{"a": 1}',
        float("inf"),
        b"\x00\xff",
        None,
    )
    query = "SELECT $1::numeric, $2::timestamptz, $3::date, $4::interval, $5::uuid, $6::int[], $7::jsonb, $8::float8, $9::bytea, $10::text"
    return tuples(await connection.fetch(query, *values))


@with_connection
async def types_of_the_database(connection):
    rows = await connection.fetch("SELECT 'paid'::status, 12.5::amount, ROW('St James', 'London')::place, ARRAY['open', 'paid']::status[], int4range(1, 5)")
    await connection.set_type_codec("jsonb", encoder=str, decoder=lambda text: ["decoded", text], schema="pg_catalog")
    await connection.set_builtin_type_codec("status", codec_name="text", schema="public")
    return [tuples(rows), tuples(await connection.fetch("SELECT '{\"a\": 1}'::jsonb, 'open'::status"))]


@with_connection
async def prepared(connection):
    statement = await connection.prepare("SELECT id, note FROM notes WHERE id = $1")
    seen = [[str(item) for item in statement.get_parameters()], [item.name for item in statement.get_attributes()]]
    for at in range(6):
        seen.append(tuples(await statement.fetch(at % 3)))
    seen.append(await statement.fetchval(1, column=1))
    seen.append([len(await statement.explain(1)), statement.get_statusmsg()])
    return seen


@with_connection
async def simple_and_many(connection):
    status = await connection.execute("INSERT INTO notes VALUES (500, 'a'); UPDATE notes SET note = 'b' WHERE id = 500")
    await connection.executemany("INSERT INTO notes VALUES ($1, $2)", [(at, f"n{at}") for at in range(501, 540)])
    many = await connection.fetchmany("INSERT INTO notes VALUES ($1, $2) RETURNING id", [(at, None) for at in range(540, 545)])
    return [status, await connection.fetchval("SELECT count(*) FROM notes WHERE id >= 500"), tuples(many)]


@with_connection
async def transactions(connection):
    seen = []
    async with connection.transaction(isolation="repeatable_read"):
        await connection.execute("INSERT INTO notes VALUES (900, 'kept')")
        try:
            async with connection.transaction():
                await connection.execute("INSERT INTO notes VALUES (901, 'gone')")
                await connection.execute("INSERT INTO notes VALUES (900, 'twice')")
        except asyncpg.UniqueViolationError as error:
            seen.append([error.sqlstate, error.constraint_name, error.detail])
    async with connection.transaction(readonly=True, isolation="serializable", deferrable=True):
        try:
            await connection.execute("DELETE FROM notes")
        except asyncpg.PostgresError as error:
            seen.append(error.sqlstate)
    seen.append(tuples(await connection.fetch("SELECT id FROM notes WHERE id >= 900")))
    return seen


@with_connection
async def cursors(connection):
    async with connection.transaction():
        walked = [tuple(row) async for row in connection.cursor("SELECT g FROM generate_series(1, 25) g", prefetch=7)]
        cursor = await connection.cursor("SELECT g FROM generate_series(1, 25) g")
        await cursor.forward(3)
        return [walked, tuples(await cursor.fetch(4)), tuple(await cursor.fetchrow())]


@with_connection
async def copy_both_ways(connection):
    records = [(at, f"copied {at}") for at in range(600, 650)]
    status = await connection.copy_records_to_table("notes", records=records)
    csv = await connection.copy_to_table("notes", source=io.BytesIO(b"650,x\n651,y\n"), format="csv")
    out = io.BytesIO()
    told = await connection.copy_from_query("SELECT * FROM notes WHERE id >= $1 ORDER BY id", 648, output=out, format="csv")
    table = io.BytesIO()
    await connection.copy_from_table("notes", output=table, columns=["id"], format="binary")
    return [status, csv, told, out.getvalue(), len(table.getvalue())]


@with_connection
async def errors(connection):
    seen = []
    for query in ("SELECT no_such_column", "SELECT 1 / 0", "SELEC 1", "SELECT 'x'::int"):
        try:
            await connection.fetch(query)
        except asyncpg.PostgresError as error:
            seen.append([type(error).__name__, error.sqlstate, str(error)])
    return seen


@with_connection
async def listeners(connection):
    heard = asyncio.Queue()
    await connection.add_listener("news", lambda _c, _p, channel, payload: heard.put_nowait([channel, payload]))
    connection.add_log_listener(lambda _c, message: heard.put_nowait([message.severity, message.message]))
    await connection.execute("DO $$ BEGIN RAISE NOTICE 'one'; END $$")
    await connection.execute("SELECT pg_notify('news', 'hello')")
    return sorted([await asyncio.wait_for(heard.get(), 5) for _ in range(2)])


@with_connection
async def time_out_and_cancel(connection):
    seen = []
    try:
        await connection.fetch("SELECT pg_sleep(60)", timeout=0.3)
    except asyncio.TimeoutError:
        seen.append("timeout")
    sleeping = asyncio.create_task(connection.fetch("SELECT pg_sleep(60)"))
    watching = await asyncpg.connect(**connecting())
    count = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(60)'"
    while not await watching.fetchval(count):
        await asyncio.sleep(0.02)
    await watching.close()
    sleeping.cancel()
    try:
        await sleeping
    except asyncio.CancelledError:
        seen.append("cancelled")
    seen.append(await connection.fetchval("SELECT 'alive'"))
    return seen


@scene
def pool(_):
    async def work():
        async with asyncpg.create_pool(**connecting(min_size=2, max_size=4, command_timeout=20)) as shared:
            async def one(at):
                async with shared.acquire() as connection:
                    return await connection.fetchval("SELECT $1::int * 2", at)

            values = await asyncio.gather(*(one(at) for at in range(40)))
            async with shared.acquire() as connection:
                await connection.execute("SET application_name = 'left'")
            return values

    return asyncio.run(work())


@scene
def server_settings(_):
    async def work():
        settings = {"application_name": "reports", "statement_timeout": "7s", "jit": "off", "search_path": "public"}
        connection = await asyncpg.connect(**connecting(server_settings=settings, statement_cache_size=0))
        row = await connection.fetchrow("SELECT current_setting('application_name'), current_setting('statement_timeout'), current_setting('jit')")
        await connection.close()
        return tuple(row)

    return asyncio.run(work())


@with_connection
async def policy(connection):
    statement = await connection.prepare("SELECT name, ssn FROM people WHERE id = $1")
    seen = {"masked": [tuples(await connection.fetch("SELECT name, ssn FROM people WHERE id = $1", 1)) for _ in range(3)]}
    seen["masked"].append(tuples(await statement.fetch(1)))
    async with connection.transaction():
        seen["masked"].append([tuple(row) async for row in connection.cursor("SELECT name, ssn FROM people ORDER BY id LIMIT 1")])
    try:
        await connection.execute("DROP TABLE people")
    except asyncpg.PostgresError as error:
        seen["denied"] = [error.sqlstate, error.message]
    try:
        await connection.fetch("DELETE FROM people WHERE id = $1", 1)
    except asyncpg.PostgresError as error:
        seen["denied with parameters"] = [error.sqlstate, error.message]
    seen["after"] = await connection.fetchval("SELECT count(*) FROM people")
    return seen


play(lambda: None, asyncpg.PostgresError, lambda error: [type(error).__name__, error.sqlstate, str(error)])
