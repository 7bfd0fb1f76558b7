"""DataFusion's own Python wheel: one process, `threads` partitions, all the memory it wants.

The benchmark also sets TOKIO_WORKER_THREADS, so that its runtime has no more threads than that.
"""

import datafusion

from peer import serve


def open_engine(tables, threads):
    config = datafusion.SessionConfig().with_target_partitions(threads)
    context = datafusion.SessionContext(config)
    for name, directory in tables.items():
        context.register_parquet(name, directory)

    def run(sql):
        return context.sql(sql).collect()

    def rows_of(batches):
        for batch in batches:
            # Not `to_pylist`, which makes one value of columns with the same name.
            yield from zip(*(column.to_pylist() for column in batch.columns))

    return datafusion.__version__, run, rows_of


serve(open_engine)
