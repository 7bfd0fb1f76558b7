-- Run by psql_runs_a_script_with_errors_transactions_and_a_cursor, which knows the answers.
\set QUIET on
SELECT * FROM (VALUES ('a', 1), ('b', 2)) AS v(k, n) ORDER BY k;
SELECT * FROM nowhere;
\set FETCH_COUNT 100
SELECT count(*) FROM generate_series(1, 10000) AS t(x);
\o /dev/null
SELECT x FROM generate_series(1, 10000) AS t(x);
\o
\unset FETCH_COUNT
SELECT max(x) FROM generate_series(1, 9999) AS t(x);
\set AUTOCOMMIT off
SELECT 1 / 0;
SELECT 1;
ROLLBACK;
\set AUTOCOMMIT on
BEGIN;
SELECT 'in a transaction';
CREATE TEMP TABLE t (a INT, b TEXT, c BOOLEAN);
INSERT INTO t VALUES (7, 'x', true);
SELECT * FROM t;
COMMIT;
SELECT 'done';
