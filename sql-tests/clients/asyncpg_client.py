"""asyncpg: everything prepared and binary, type introspection, cursors, cancel by time limit."""

import asyncio
import datetime as dt
import decimal
import sys
import uuid

import asyncpg

ENDLESS = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000000) b"

VALUES = [
    ("int2", 7),
    ("int4", -2147483648),
    ("int8", 9223372036854775807),
    ("float4", 1.5),
    ("float8", 0.1),
    ("numeric", decimal.Decimal("-12345678901234567890.0012300")),
    ("text", "Grüße 🔥"),
    ("bool", False),
    ("date", dt.date(2024, 2, 29)),
    ("timestamp", dt.datetime(1999, 12, 31, 23, 59, 59, 999999)),
    ("time", dt.time(12, 34, 56, 789)),
    ("interval", dt.timedelta(days=3, seconds=4, microseconds=5)),
    ("uuid", uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")),
    ("bytea", b"\x00\xff bytes"),
    ("json", '{"a": [1, 2]}'),
    ("int4[]", [1, None, 3]),
    ("text[]", ["a", "b c"]),
]


async def main():
    connection = await asyncpg.connect(
        host="127.0.0.1", port=int(sys.argv[1]), user="firesteel", database="firesteel"
    )
    for kind, value in VALUES:
        assert await connection.fetchval(f"SELECT $1::{kind}", value) == value, kind
        assert await connection.fetchval(f"SELECT $1::{kind}", None) is None, kind
    moment = dt.datetime(2024, 2, 29, 12, tzinfo=dt.timezone.utc)
    assert await connection.fetchval("SELECT $1::timestamptz", moment) == moment

    record = await connection.fetchrow("SELECT 1 AS a, 'x' AS b, NULL::int4 AS c")
    assert dict(record) == {"a": 1, "b": "x", "c": None}

    statement = await connection.prepare("SELECT x FROM generate_series(1, $1::int4) AS t(x)")
    assert [p.name for p in statement.get_parameters()] == ["int4"]
    assert [a.name for a in statement.get_attributes()] == ["x"]
    for count in (0, 1, 50000):
        assert len(await statement.fetch(count)) == count

    async with connection.transaction():
        total = 0
        async for row in statement.cursor(20000, prefetch=500):
            total += row["x"]
        assert total == 20000 * 20001 // 2

    await connection.execute("CREATE TEMP TABLE t (a INT, b TEXT)")
    await connection.executemany("INSERT INTO t VALUES ($1, $2)", [(1, "x"), (2, None)])
    assert await connection.fetchval("SELECT count(*) FROM t") == 2
    assert await connection.execute("INSERT INTO t VALUES (3, 'z')") == "INSERT 0 1"

    for sql, kind in [
        ("SELECT * FROM nowhere", asyncpg.UndefinedTableError),
        ("SELEC 1", asyncpg.PostgresSyntaxError),
        ("SELECT 1 / 0", asyncpg.DivisionByZeroError),
        ("SELECT 'x'::int4", asyncpg.InvalidTextRepresentationError),
    ]:
        try:
            await connection.fetch(sql)
        except kind:
            pass
        else:
            raise AssertionError(f"no error: {sql}")

    try:
        await connection.fetch(ENDLESS, timeout=0.5)
    except asyncio.TimeoutError:
        pass
    else:
        raise AssertionError("not cancelled")
    assert await connection.fetchval("SELECT 1") == 1

    try:
        async with connection.transaction():
            await connection.execute("CREATE TEMP TABLE gone (a INT)")
            raise KeyError
    except KeyError:
        pass
    try:
        await connection.fetch("SELECT * FROM gone")
    except asyncpg.UndefinedTableError:
        pass
    else:
        raise AssertionError("gone is there")

    await connection.reset()
    await connection.close()

    # A pool resets its connections between uses.
    async with asyncpg.create_pool(
        host="127.0.0.1", port=int(sys.argv[1]), user="firesteel", database="firesteel", min_size=1, max_size=4
    ) as pool:
        answers = await asyncio.gather(*(pool.fetchval("SELECT $1::int4 * 2", n) for n in range(50)))
        assert answers == [2 * n for n in range(50)]


asyncio.run(main())
