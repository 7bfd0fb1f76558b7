"""psycopg 3: server-side binding, text and binary results, named cursors, errors, transactions."""

import datetime as dt
import decimal
import sys
import threading
import uuid

import psycopg
from psycopg import errors

ENDLESS = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000000) b"

dsn = f"host=127.0.0.1 port={sys.argv[1]} user=firesteel dbname=firesteel"

VALUES = [
    ("int2", 7),
    ("int4", -2147483648),
    ("int8", 9223372036854775807),
    ("float8", 0.1),
    ("numeric", decimal.Decimal("-12345678901234567890.0012300")),
    ("text", "Grüße 🔥 'quoted'"),
    ("bool", True),
    ("date", dt.date(2024, 2, 29)),
    ("timestamp", dt.datetime(1999, 12, 31, 23, 59, 59, 999999)),
    ("time", dt.time(12, 34, 56, 789)),
    ("interval", dt.timedelta(days=3, seconds=4, microseconds=5)),
    ("uuid", uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")),
    ("bytea", b"\x00\xff bytes"),
    ("int4[]", [1, 2, 3]),
    ("text[]", ["a", "b c", 'd"e']),
]

with psycopg.connect(dsn, autocommit=True) as connection:
    for binary in (False, True):
        for kind, value in VALUES:
            row = connection.execute(f"SELECT %s::{kind}", [value], binary=binary).fetchone()
            got = bytes(row[0]) if isinstance(row[0], memoryview) else row[0]
            assert got == value, (kind, binary, got, value)
            none = connection.execute(f"SELECT %s::{kind}", [None], binary=binary).fetchone()
            assert none == (None,), (kind, none)
    moment = dt.datetime(2024, 2, 29, 12, tzinfo=dt.timezone.utc)
    assert connection.execute("SELECT %s::timestamptz", [moment]).fetchone()[0] == moment

    # Prepared after some executions.
    for number in range(10):
        row = connection.execute("SELECT %s::int4 + 1", [number]).fetchone()
        assert row == (number + 1,)

    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE t (a INT, b TEXT)")
        cursor.executemany("INSERT INTO t VALUES (%s, %s)", [(1, "x"), (2, None), (3, "")])
        cursor.execute("SELECT a, b FROM t ORDER BY a")
        assert cursor.fetchall() == [(1, "x"), (2, None), (3, "")]
        assert [column.name for column in cursor.description] == ["a", "b"]

    # COPY, out and in, as text and as typed rows.
    with connection.cursor() as cursor:
        with cursor.copy("COPY (SELECT a, b FROM t ORDER BY a) TO STDOUT") as copy:
            assert b"".join(copy) == b"1\tx\n2\t\\N\n3\t\n"
        cursor.execute("CREATE TEMP TABLE copied (a INT, b TEXT, c TIMESTAMP, d FLOAT8)")
        rows = [(n, f"row\t{n}", dt.datetime(2024, 2, 29, 1, 2, n % 60), n / 2) for n in range(5000)]
        with cursor.copy("COPY copied FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        assert cursor.rowcount == 5000
        with cursor.copy("COPY copied (a, b) FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            copy.write_row((5000, "ünïcode"))
            copy.write_row((5001, None))
        with cursor.copy(
            "COPY (SELECT * FROM copied WHERE a < 5000 ORDER BY a) TO STDOUT (FORMAT binary)"
        ) as copy:
            copy.set_types(["int4", "text", "timestamp", "float8"])
            assert list(copy.rows()) == rows
        cursor.execute("SELECT a, b FROM copied WHERE a >= 5000 ORDER BY a")
        assert cursor.fetchall() == [(5000, "ünïcode"), (5001, None)]
        try:
            with cursor.copy("COPY copied (a) FROM STDIN") as copy:
                copy.write(b"1\nzwei\n")
        except errors.InvalidTextRepresentation as error:
            assert error.diag.context == 'COPY copied, line 2, column a: "zwei"', error.diag.context
        else:
            raise AssertionError("not refused")
        try:
            with cursor.copy("COPY copied (a) FROM STDIN") as copy:
                copy.write(b"1\n")
                raise RuntimeError("given up")
        except RuntimeError:
            pass
        cursor.execute("SELECT count(*) FROM copied")
        assert cursor.fetchone() == (5002,)

    for sql, kind in [
        ("SELECT * FROM nowhere", errors.UndefinedTable),
        ("SELECT nope FROM t", errors.UndefinedColumn),
        ("SELEC 1", errors.SyntaxError),
        ("SELECT 1 / 0", errors.DivisionByZero),
        ("SELECT 'x'::int4", errors.InvalidTextRepresentation),
        ("SELECT nofunction(1)", errors.UndefinedFunction),
    ]:
        try:
            connection.execute(sql)
        except kind:
            pass
        else:
            raise AssertionError(f"no error: {sql}")

    over = threading.Event()

    def cancel():
        # Before the statement runs, a request means nothing.
        while not over.wait(0.5):
            connection.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    try:
        connection.execute(ENDLESS)
    except errors.QueryCanceled:
        pass
    else:
        raise AssertionError("not cancelled")
    finally:
        over.set()
        canceller.join()
    assert connection.execute("SELECT 1").fetchone() == (1,)

with psycopg.connect(dsn) as connection:
    # A named cursor is DECLARE and FETCH; it needs a transaction.
    with connection.cursor(name="big") as cursor:
        cursor.itersize = 1000
        cursor.execute("SELECT x FROM generate_series(1, 50000) AS t(x)")
        assert sum(row[0] for row in cursor) == 50000 * 50001 // 2
    with connection.cursor() as cursor:
        streamed = cursor.stream("SELECT x FROM generate_series(1, 20000) AS t(x)")
        assert sum(1 for _ in streamed) == 20000
    connection.commit()

    connection.execute("CREATE TEMP TABLE kept (a INT)")
    connection.commit()
    try:
        with connection.transaction():
            connection.execute("CREATE TEMP TABLE gone (a INT)")
            connection.execute("SELECT 1 / 0")
    except errors.DivisionByZero:
        pass
    assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    try:
        connection.execute("SELECT count(*) FROM gone")
    except errors.UndefinedTable:
        connection.rollback()
    else:
        raise AssertionError("gone is there")

    with connection.pipeline():
        first = connection.execute("SELECT 1")
        second = connection.execute("SELECT %s::text", ["two"])
    assert (first.fetchone(), second.fetchone()) == ((1,), ("two",))
