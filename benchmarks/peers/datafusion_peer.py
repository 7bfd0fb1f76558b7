"""DataFusion's own Python wheel: one process, `threads` partitions, all the memory it wants; over
the files, or over tables that it collected into memory.

The benchmark also sets TOKIO_WORKER_THREADS, so that its runtime has no more threads than that.
"""

import datafusion

from peer import serve


def open_engine(tables, threads, load):
    config = datafusion.SessionConfig().with_target_partitions(threads)
    context = datafusion.SessionContext(config)
    for name, directory in tables.items():
        if load is None:
            context.register_parquet(name, directory)
            continue
        files = context.read_parquet(directory)
        kept = [column for column in files.schema().names if column in load["columns"]]
        # Not `register_record_batches`: columns that went through Python make Q18 twice as slow.
        context.register_view(name, files.select(*kept).cache())

    def run(sql):
        return context.sql(sql).collect()

    def rows_of(batches):
        for batch in batches:
            # Not `to_pylist`, which makes one value of columns with the same name.
            yield from zip(*(column.to_pylist() for column in batch.columns))

    return datafusion.__version__, run, rows_of


serve(open_engine)
