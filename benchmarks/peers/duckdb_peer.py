"""DuckDB's own Python wheel: in memory, views over the same Parquet files, `threads` threads."""

import duckdb

from peer import serve


def open_engine(tables, threads):
    connection = duckdb.connect()
    connection.execute(f"SET threads = {int(threads)}")
    for name, directory in tables.items():
        files = directory.replace("'", "''") + "/*.parquet"
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{files}')")

    def run(sql):
        return connection.execute(sql).fetchall()

    return duckdb.__version__, run, lambda rows: rows


serve(open_engine)
