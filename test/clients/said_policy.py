"""What drivers meet where a rule looks into what they say: each way that each of them has to send a value. Prints JSON."""

import asyncio
import json
import ssl
import sys

import asyncpg
import pg8000.native
import psycopg
from psycopg.types.json import Jsonb

uri, way, card = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
harmless = "nothing of it, \u00e9 and \u4f60"
seen = {}


def note(driver, how, value, error=None):
    kept = seen.setdefault(driver, {}).setdefault("harmless" if value == harmless else "card", {})
    kept[how] = error


def of_psycopg(connection, value):
    values = {
        "text": ("%t", "text", value),
        "binary": ("%b", "text", value),
        "array in text": ("%t", "text[]", ["a", value]),
        "array in binary": ("%b", "text[]", ["a", value]),
        "jsonb in text": ("%t", "jsonb", Jsonb({"a": [value]})),
        "jsonb in binary": ("%b", "jsonb", Jsonb({"a": [value]})),
        "bytea in binary": ("%b", "bytea", value.encode()),
    }
    for prepare in (False, True):
        for how, (form, type_, sent) in values.items():
            try:
                connection.execute(f"SELECT {form}::{type_}", (sent,), prepare=prepare)
                note("psycopg", f"{how}, prepare={prepare}", value)
            except psycopg.Error as error:
                note("psycopg", f"{how}, prepare={prepare}", value, [type(error).__name__, error.sqlstate])
    try:
        with connection.pipeline():
            connection.execute("SELECT 1")
            connection.execute("SELECT %b::text", (value,))
        note("psycopg", "pipeline", value)
    except psycopg.Error as error:
        note("psycopg", "pipeline", value, [type(error).__name__, error.sqlstate])


with psycopg.connect(uri, autocommit=True) as connection:
    for value in (harmless, card):
        of_psycopg(connection, value)
    seen["psycopg"]["after"] = connection.execute("SELECT %b::text", (harmless,)).fetchone()[0] == harmless


async def of_asyncpg():
    context = ssl.create_default_context(cafile=way["caFile"])
    connection = await asyncpg.connect(
        host=way["host"], port=way["port"], user=way["user"], password=way["password"], database=way["database"], ssl=context
    )
    for value in (harmless, card):
        for how, type_, sent in (
            ("text", "text", value),
            ("array", "text[]", ["a", value]),
            ("jsonb", "jsonb", json.dumps({"a": value})),
            ("bytea", "bytea", value.encode()),
        ):
            try:
                await connection.fetchval(f"SELECT $1::{type_}", sent)
                note("asyncpg", how, value)
            except asyncpg.PostgresError as error:
                note("asyncpg", how, value, [type(error).__name__, error.sqlstate])
        try:
            await connection.executemany("SELECT $1::text", [("a",), (value,)])
            note("asyncpg", "executemany", value)
        except asyncpg.PostgresError as error:
            note("asyncpg", "executemany", value, [type(error).__name__, error.sqlstate])
    seen["asyncpg"]["after"] = await connection.fetchval("SELECT $1::text", harmless) == harmless
    await connection.close()


asyncio.run(of_asyncpg())

context = ssl.create_default_context(cafile=way["caFile"])
with pg8000.native.Connection(
    way["user"], host=way["host"], port=way["port"], password=way["password"], database=way["database"], ssl_context=context
) as connection:
    for value in (harmless, card):
        for how, sent in (("text", value), ("array", ["a", value])):
            try:
                connection.run("SELECT :v", v=sent)
                note("pg8000", how, value)
            except pg8000.native.DatabaseError as error:
                note("pg8000", how, value, [type(error).__name__, error.args[0]["C"]])
    seen["pg8000"]["after"] = connection.run("SELECT :v", v=harmless) == [[harmless]]
print(json.dumps(seen))
