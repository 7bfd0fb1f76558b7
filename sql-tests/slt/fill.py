"""Fills in what PostgreSQL answers: `python fill.py "DSN" FILE.slt…`, by hand, when writing tests.

Every `query` gets its column types and rows, every `statement error` its SQLSTATE. Records for
firesteel alone (`onlyif firesteel`) are left as they are. The suite itself checks the result
against PostgreSQL again (ours_in_postgres).
"""

import sys

import psycopg

INTEGERS, NUMBERS = {20, 21, 23, 26}, {700, 701, 1700}


def letter(oid):
    return "I" if oid in INTEGERS else "R" if oid in NUMBERS else "T"


def cell(value):
    return "NULL" if value is None else value.decode() or "(empty)"


def run(connection, sql):
    result = connection.pgconn.exec_(sql.encode())
    if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
        field = psycopg.pq.DiagnosticField
        state = result.error_field(field.SQLSTATE).decode()
        return state, result.error_field(field.MESSAGE_PRIMARY).decode(), None
    return None, None, result


def fill(connection, block):
    lines = block.split("\n")
    skipped = ("#", "onlyif", "skipif", "control")
    at = next((n for n, line in enumerate(lines) if not line.startswith(skipped)), None)
    if at is None or "onlyif firesteel" in lines[:at]:
        return block
    head, body = lines[at], lines[at + 1 :]
    sql = "\n".join(body[: body.index("----")] if "----" in body else body)
    words = head.split()
    if words[0] not in ("query", "statement"):
        return block
    state, message, result = run(connection, sql)
    if words[1:2] == ["error"]:
        if not state:
            raise ValueError(f"no error: {sql}")
        head, body = f"statement error ({state})", sql.split("\n")
    elif state:
        raise ValueError(f"{state} {message}: {sql}")
    elif words[0] == "query":
        sort = [word for word in words[1:] if word.endswith("sort")]
        types = "".join(letter(result.ftype(n)) for n in range(result.nfields))
        width = range(result.nfields)
        rows = [[cell(result.get_value(r, c)) for c in width] for r in range(result.ntuples)]
        if sort == ["rowsort"]:
            rows.sort()
        head = " ".join(["query", types, *sort])
        body = [*sql.split("\n"), "----", *(" ".join(row) for row in rows)]
    return "\n".join(lines[:at] + [head] + body)


failed = False
for name in sys.argv[2:]:
    with psycopg.connect(sys.argv[1], autocommit=True) as connection:
        done = []
        for block in open(name).read().strip().split("\n\n"):
            try:
                done.append(fill(connection, block))
            except ValueError as error:
                print(f"{name}: {error}")
                failed = True
                done.append(block)
    open(name, "w").write("\n\n".join(done) + "\n")
sys.exit(failed)
