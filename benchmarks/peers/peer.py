"""The conversation with the benchmark, the same for every peer.

One JSON object a line: the benchmark asks on stdin, the peer answers on stdout.

    {"tables": {"nation": "/data/nation", ...}, "threads": 2,
     "load": null}                                                ->  {"version": "55.0.0", "seconds": 0.05}
    {"sql": "select ..."}                                         ->  {"seconds": 0.12, "rows": [["1", null], ...]}
                                                                  or  {"error": "..."}

`load` is null, or what a peer that makes tables of its own from the files needs: the `columns` that
queries name and an empty `directory` that is removed after its end. The first answer's seconds are
those of opening and loading.

The clock runs from handing over the SQL text until all rows are here; turning them into text for
comparison happens after. The process ends when stdin does.
"""

import json
import sys
import time


def cell(value):
    """A value as text that the benchmark can compare; None stays None."""
    if value is None:
        return None
    if isinstance(value, float):
        return repr(value)
    return str(value)


def serve(open_engine):
    """`open_engine(tables, threads, load)` returns a version, a function that runs SQL to whatever the
    engine calls a result, and one that turns such a result into rows."""
    setup = json.loads(sys.stdin.readline())
    start = time.perf_counter()
    version, run, rows_of = open_engine(setup["tables"], setup["threads"], setup["load"])
    answer({"version": version, "seconds": time.perf_counter() - start})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            start = time.perf_counter()
            result = run(request["sql"])
            seconds = time.perf_counter() - start
            rows = [[cell(value) for value in row] for row in rows_of(result)]
            answer({"seconds": seconds, "rows": rows})
        # An engine may raise anything; the benchmark reports it beside the query.
        except Exception as error:
            answer({"error": f"{type(error).__name__}: {error}"})


def answer(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
