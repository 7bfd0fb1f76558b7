"""DuckDB's own Python wheel with `threads` threads: in memory with views over the same Parquet
files, or tables of its own in a database file, which it keeps in its memory as far as that goes.
"""

import os

import duckdb

from peer import serve


def open_engine(tables, threads, load):
    if load is None:
        connection = duckdb.connect()
    else:
        connection = duckdb.connect(os.path.join(load["directory"], "tpch.duckdb"))
    connection.execute(f"SET threads = {int(threads)}")
    for name, directory in tables.items():
        files = directory.replace("'", "''") + "/*.parquet"
        if load is None:
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{files}')")
            continue
        described = connection.execute(f"DESCRIBE SELECT * FROM read_parquet('{files}')").fetchall()
        kept = ", ".join(column for column, *_ in described if column in load["columns"])
        connection.execute(f"CREATE TABLE {name} AS SELECT {kept} FROM read_parquet('{files}')")
    if load is not None:
        connection.execute("CHECKPOINT")

    def run(sql):
        return connection.execute(sql).fetchall()

    return duckdb.__version__, run, lambda rows: rows


serve(open_engine)
