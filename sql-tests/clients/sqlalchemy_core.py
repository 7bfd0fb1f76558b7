"""SQLAlchemy core over psycopg: a table's definition, bound parameters, streaming, inspection."""

import decimal
import sys

from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    create_engine,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import ProgrammingError

engine = create_engine(f"postgresql+psycopg://firesteel@127.0.0.1:{sys.argv[1]}/firesteel")

with engine.connect() as connection:
    assert connection.execute(text("SELECT :a + 1"), {"a": 41}).scalar() == 42
    connection.rollback()

    table = Table(
        "t",
        MetaData(),
        Column("a", Integer),
        Column("b", String(20)),
        Column("c", Numeric(10, 2)),
        prefixes=["TEMPORARY"],
    )
    table.create(connection)
    rows = [
        {"a": 1, "b": "x", "c": decimal.Decimal("1.50")},
        {"a": 2, "b": None, "c": None},
        {"a": 3, "b": "z", "c": decimal.Decimal("-2.25")},
    ]
    connection.execute(insert(table), rows)
    found = connection.execute(select(table).order_by(table.c.a)).mappings().all()
    assert [dict(row) for row in found] == rows, found
    total = select(func.sum(table.c.c), func.count()).where(table.c.a.in_([1, 3]))
    assert tuple(connection.execute(total).one()) == (decimal.Decimal("-0.75"), 2)
    connection.commit()

    try:
        connection.execute(text("SELECT * FROM nowhere"))
    except ProgrammingError as error:
        assert error.orig.sqlstate == "42P01"
        connection.rollback()
    else:
        raise AssertionError("no error")

    connection.execute(text("CREATE SCHEMA sa"))
    connection.execute(text("CREATE VIEW sa.v AS SELECT 1 AS x, 'y' AS y"))
    connection.commit()
    inspector = inspect(connection)
    assert "sa" in inspector.get_schema_names()
    assert inspector.get_view_names(schema="sa") == ["v"]
    assert inspector.has_table("v", schema="sa")
    connection.execute(text("DROP SCHEMA sa CASCADE"))
    connection.commit()

with engine.connect().execution_options(stream_results=True, yield_per=500) as connection:
    big = connection.execute(text("SELECT x FROM generate_series(1, 20000) AS t(x)"))
    assert sum(row.x for row in big) == 20000 * 20001 // 2
