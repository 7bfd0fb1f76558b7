#!/bin/sh
# Writes the .tsv files of this directory from a running PostgreSQL: facts about its system
# catalogs, for the parts of them we have. Usage: generate.sh [psql options]
set -eu
cd "$(dirname "$0")"
query() { psql -X -q -v ON_ERROR_STOP=1 "$@"; }

# Columns of every system relation. Domains are shown as what they are domains over, as on the
# wire. The UNIONs are what PostgreSQL 16 has over 15.
query "$@" > columns.tsv <<'SQL'
COPY (
  SELECT n.nspname, c.relname, c.oid, c.relkind, a.attname,
         format_type(CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END,
                     CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END),
         a.attnotnull
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid
  WHERE n.nspname IN ('pg_catalog', 'information_schema') AND c.relkind IN ('r', 'v')
    AND c.relname NOT IN ('pg_statistic', 'pg_largeobject', 'pg_stats', 'pg_stats_ext',
                          'pg_stats_ext_exprs', 'pg_statistic_ext_data', 'pg_config',
                          'pg_shmem_allocations', 'pg_backend_memory_contexts')
  ORDER BY n.nspname DESC, c.relname, a.attnum
) TO STDOUT;
SQL
tab=$(printf '\t')
oid_of() { awk -F "$tab" -v name="$1" '$2 == name { print $3; exit }' columns.tsv; }
after() { # table, column it follows, column, type
    line="pg_catalog${tab}$1${tab}$(oid_of "$1")${tab}r${tab}$3${tab}$4${tab}f"
    grep -q "^pg_catalog${tab}$1${tab}.*${tab}$3${tab}" columns.tsv ||
        awk -v line="$line" -v prefix="pg_catalog${tab}$1${tab}" -v column="${tab}$2${tab}" \
            '{ print } index($0, prefix) == 1 && index($0, column) { print line }' \
            columns.tsv > columns.new && { [ ! -e columns.new ] || mv columns.new columns.tsv; }
}
after pg_database daticulocale daticurules text
after pg_collation colliculocale collicurules text
after pg_auth_members admin_option inherit_option boolean
after pg_auth_members inherit_option set_option boolean

TYPES="'bool','bytea','char','name','int8','int2','int2vector','int4','regproc','text','oid','xid',
'oidvector','json','pg_node_tree','float4','float8','unknown','aclitem','bpchar','varchar','date',
'time','timestamp','timestamptz','interval','numeric','regprocedure','regoper','regoperator',
'regclass','regtype','record','void','uuid','pg_lsn','jsonb','regnamespace','regrole','cstring',
'any','anyarray','anyelement'"
ours="t.typnamespace = 'pg_catalog'::regnamespace AND (t.typname IN ($TYPES) OR t.typelem IN
  (SELECT e.oid FROM pg_type e WHERE e.typname IN ($TYPES) AND e.typarray = t.oid))"
# Function references as numbers, as pg_type joins with pg_proc.
type_columns=$(query "$@" -A -t -c "SELECT string_agg(CASE WHEN atttypid = 'regproc'::regtype
  THEN attname || '::oid' ELSE attname END, ', ' ORDER BY attnum) FROM pg_attribute
  WHERE attrelid = 'pg_type'::regclass AND attnum > 0")
query "$@" -c "COPY (SELECT $type_columns FROM pg_type t WHERE $ours ORDER BY oid) TO STDOUT
  WITH (FORMAT text, HEADER)" > pg_type.tsv
proc_columns=$(query "$@" -A -t -c "SELECT string_agg(CASE WHEN atttypid = 'regproc'::regtype
  THEN attname || '::oid' ELSE attname END, ', ' ORDER BY attnum) FROM pg_attribute
  WHERE attrelid = 'pg_proc'::regclass AND attnum > 0")
query "$@" -c "COPY (SELECT $proc_columns FROM pg_proc p WHERE oid IN
  (SELECT unnest(ARRAY[typinput, typoutput, typreceive, typsend, typmodin, typmodout]::oid[])
   FROM pg_type t WHERE $ours) ORDER BY oid) TO STDOUT WITH (FORMAT text, HEADER)" > pg_proc.tsv
query "$@" -c "COPY (SELECT *, NULL AS collicurules FROM pg_collation WHERE collname IN
  ('default', 'C', 'POSIX') AND collencoding = -1 ORDER BY oid) TO STDOUT
  WITH (FORMAT text, HEADER)" > pg_collation.tsv
query "$@" -c "COPY (SELECT * FROM pg_language WHERE lanname = 'internal' ORDER BY oid) TO STDOUT
  WITH (FORMAT text, HEADER)" > pg_language.tsv
query "$@" -c "COPY (SELECT * FROM pg_get_keywords()) TO STDOUT
  WITH (FORMAT text, HEADER)" > pg_get_keywords.tsv
query "$@" -c "COPY (SELECT * FROM pg_tablespace ORDER BY oid) TO STDOUT
  WITH (FORMAT text, HEADER)" > pg_tablespace.tsv
