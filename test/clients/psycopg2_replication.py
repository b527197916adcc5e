"""psycopg2's replication connections, physical and logical; prints what they saw as JSON."""

import json

import psycopg2
from psycopg2.extras import LogicalReplicationConnection, PhysicalReplicationConnection, StopReplication
from scenes import dsn

seen = {"changes": []}

with psycopg2.connect(dsn()) as plain:
    logical = psycopg2.connect(dsn(), connection_factory=LogicalReplicationConnection)
    cursor = logical.cursor()
    cursor.create_replication_slot("psycopg2", output_plugin="test_decoding")
    seen["created"] = cursor.fetchone()[0]
    with plain.cursor() as writer:
        writer.execute("TRUNCATE people")
        writer.execute("INSERT INTO people SELECT g, 'name ' || g FROM generate_series(1, 500) g")
    plain.commit()
    cursor.start_replication(slot_name="psycopg2", decode=True, options={"include-xids": 0})

    def consume(message):
        seen["changes"].append(message.payload)
        message.cursor.send_feedback(flush_lsn=message.data_start)
        if message.payload == "COMMIT" and len(seen["changes"]) > 500:
            raise StopReplication()

    try:
        cursor.consume_stream(consume)
    except StopReplication:
        pass
    logical.close()

    physical = psycopg2.connect(dsn(), connection_factory=PhysicalReplicationConnection)
    cursor = physical.cursor()
    cursor.execute("IDENTIFY_SYSTEM")
    seen["identified"] = len(cursor.fetchone())
    try:
        cursor.execute("SELECT 1")
    except psycopg2.Error as error:
        seen["sql"] = error.pgcode
    physical.close()

    with plain.cursor() as writer:
        writer.execute("SELECT pg_drop_replication_slot('psycopg2') FROM pg_replication_slots WHERE slot_name = 'psycopg2' AND NOT active")
        seen["dropped"] = writer.rowcount
print(json.dumps(seen))
