//! System tables, queried with DataFusion as the planner would.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use catalog::system::{
    ActivityRow, ExecutorRow, SettingRow, SystemContext, SystemNames, SystemTable,
    system_relation_names, system_table,
};
use catalog::{
    CommentTarget, FileKind, IfExists, ObjectName, RelationKind, SearchPath, ViewDefinition,
};
use datafusion::catalog::MemorySchemaProvider;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::FutureExt;
use job::{ExecutorUsage, SessionId};

use crate::support::{Fixture, batch, cells, new_table};

/// A session in which all system tables are registered.
fn session(context: &SystemContext) -> SessionContext {
    let session = SessionContext::new_with_config(
        SessionConfig::new()
            .with_default_catalog_and_schema("firesteel", "public")
            .with_target_partitions(1),
    );
    let catalog = session.catalog("firesteel").unwrap();
    for schema in ["pg_catalog", "information_schema", "firesteel"] {
        catalog
            .register_schema(schema, Arc::new(MemorySchemaProvider::new()))
            .unwrap();
        for name in system_relation_names(schema) {
            let table = system_table(schema, name, context).unwrap();
            assert!(table.is::<SystemTable>());
            session
                .register_table(format!("{schema}.{name}").as_str(), table)
                .unwrap();
        }
    }
    session
}

async fn query(session: &SessionContext, sql: &str) -> Vec<Vec<String>> {
    let batches: Vec<RecordBatch> = session.sql(sql).await.unwrap().collect().await.unwrap();
    cells(
        &arrow::util::pretty::pretty_format_batches(&batches)
            .unwrap()
            .to_string(),
    )
}

/// A table with a comment, a view, a schema and a temporary table.
async fn filled() -> (Fixture, SystemContext) {
    let fixture = Fixture::new();
    let csv = fixture.write("t.csv", "a,b\n1,x\n");
    let mut new = new_table(FileKind::Csv, csv);
    let varchar = [("firesteel.pg_type".to_owned(), "varchar(10)".to_owned())];
    new.columns = Some(Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int32, false),
        Field::new("b", DataType::Utf8, true).with_metadata(varchar.into()),
        Field::new("c", DataType::Decimal128(10, 2), true),
        Field::new("d", DataType::new_list(DataType::Int64, true), true),
    ])));
    let t = fixture.create("t", new, IfExists::Fail).await.unwrap();
    fixture.catalog.create_schema("s", false).await.unwrap();
    let view = ViewDefinition {
        sql: " SELECT a FROM t;".to_owned(),
        depends_on: vec![t.oid.unwrap()],
        search_path: Vec::new(),
    };
    fixture
        .catalog
        .create_view(
            &ObjectName::qualified("s", "v"),
            &SearchPath::default(),
            view,
            Arc::new(Schema::new(vec![Field::new("a", DataType::Int32, true)])),
            IfExists::Fail,
        )
        .await
        .unwrap();
    for (target, text) in [
        (
            CommentTarget::Relation {
                kind: RelationKind::Table,
                name: ObjectName::bare("t"),
            },
            "the table",
        ),
        (
            CommentTarget::Column {
                relation: ObjectName::bare("t"),
                column: "b".to_owned(),
            },
            "the column",
        ),
    ] {
        fixture
            .catalog
            .comment(target, &SearchPath::default(), Some(text.to_owned()))
            .await
            .unwrap();
    }
    let tables = fixture.catalog.session_tables(SessionId(3));
    tables
        .create(
            "tmp",
            batch(&[]).schema(),
            vec![None, Some("'x'::text".to_owned())],
            IfExists::Fail,
        )
        .await
        .unwrap();
    let mut context = SystemContext::new(fixture.catalog.snapshot(), "mydb", "alice");
    context.session_tables = Some(tables);
    (fixture, context)
}

#[tokio::test]
async fn every_system_table_can_be_read() {
    let (_fixture, context) = filled().await;
    let session = session(&context);
    let mut count = 0;
    for schema in ["pg_catalog", "information_schema", "firesteel"] {
        for name in system_relation_names(schema) {
            let sql = format!("SELECT * FROM {schema}.{name}");
            session.sql(&sql).await.unwrap().collect().await.unwrap();
            count += 1;
        }
    }
    assert!(count > 150, "{count}");
}

#[tokio::test]
async fn describing_relations_as_psql_does() {
    let (_fixture, context) = filled().await;
    let session = session(&context);
    let rows = query(
        &session,
        "SELECT n.nspname, c.relname, c.relkind, c.relpersistence \
         FROM pg_catalog.pg_class c \
         LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam \
         WHERE c.relkind IN ('r','p','v','m','S','f','') AND n.nspname <> 'pg_catalog' \
         AND n.nspname !~ '^pg_toast' AND n.nspname <> 'information_schema' ORDER BY 1, 2",
    )
    .await;
    assert_eq!(
        rows,
        [
            ["firesteel", "blocks", "v", "p"],
            ["firesteel", "caches", "v", "p"],
            ["firesteel", "executors", "v", "p"],
            ["pg_temp_3", "tmp", "r", "t"],
            ["public", "t", "r", "p"],
            ["s", "v", "v", "p"]
        ]
    );
    let rows = query(
        &session,
        "SELECT a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attnum, t.typname \
         FROM pg_catalog.pg_attribute a \
         JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
         LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
         WHERE c.relname = 't' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
    )
    .await;
    assert_eq!(
        rows,
        [
            ["a", "23", "-1", "true", "1", "int4"],
            ["b", "1043", "14", "false", "2", "varchar"],
            ["c", "1700", "655366", "false", "3", "numeric"],
            ["d", "1016", "-1", "false", "4", "_int8"],
        ]
    );
    let rows = query(
        &session,
        "SELECT d.adbin FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_attribute a \
         ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE a.atthasdef",
    )
    .await;
    assert_eq!(rows, [["'x'::text"]]);
    let rows = query(
        &session,
        "SELECT objsubid, description FROM pg_catalog.pg_description \
         WHERE classoid = 1259 ORDER BY 1",
    )
    .await;
    assert_eq!(rows, [["0", "the table"], ["2", "the column"]]);
    let rows = query(
        &session,
        "SELECT viewname, definition FROM pg_catalog.pg_views WHERE schemaname = 's'",
    )
    .await;
    assert_eq!(rows, [["v", "SELECT a FROM t;"]]);
}

#[tokio::test]
async fn system_tables_describe_themselves() {
    let (_fixture, context) = filled().await;
    let session = session(&context);
    let rows = query(
        &session,
        "SELECT a.attname FROM pg_catalog.pg_attribute a WHERE a.attrelid = 1259 \
         ORDER BY a.attnum LIMIT 3",
    )
    .await;
    assert_eq!(rows, [["oid"], ["relname"], ["relnamespace"]]);
}

#[tokio::test]
async fn information_schema_describes_columns() {
    let (_fixture, context) = filled().await;
    let session = session(&context);
    let rows = query(
        &session,
        "SELECT table_catalog, table_schema, table_name, table_type \
         FROM information_schema.tables \
         WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 2, 3",
    )
    .await;
    assert_eq!(
        rows,
        [
            ["mydb", "firesteel", "blocks", "VIEW"],
            ["mydb", "firesteel", "caches", "VIEW"],
            ["mydb", "firesteel", "executors", "VIEW"],
            ["mydb", "pg_temp_3", "tmp", "LOCAL TEMPORARY"],
            ["mydb", "public", "t", "BASE TABLE"],
            ["mydb", "s", "v", "VIEW"]
        ]
    );
    let rows = query(
        &session,
        "SELECT column_name, ordinal_position, is_nullable, data_type, \
         character_maximum_length, numeric_precision, numeric_scale, udt_name \
         FROM information_schema.columns WHERE table_name = 't' ORDER BY 2",
    )
    .await;
    assert_eq!(
        rows,
        [
            ["a", "1", "NO", "integer", "", "32", "0", "int4"],
            [
                "b",
                "2",
                "YES",
                "character varying",
                "10",
                "",
                "",
                "varchar"
            ],
            ["c", "3", "YES", "numeric", "", "10", "2", "numeric"],
            ["d", "4", "YES", "ARRAY", "", "", "", "_int8"],
        ]
    );
    let rows = query(
        &session,
        "SELECT schema_name, schema_owner FROM information_schema.schemata ORDER BY 1",
    )
    .await;
    assert_eq!(
        rows,
        [
            ["firesteel", "alice"],
            ["information_schema", "alice"],
            ["pg_catalog", "alice"],
            ["pg_temp_3", "alice"],
            ["public", "alice"],
            ["s", "alice"]
        ]
    );
}

#[tokio::test]
async fn the_server_says_its_settings_and_activity() {
    let (_fixture, mut context) = filled().await;
    context.settings = Arc::new(|| {
        vec![SettingRow {
            name: "work_mem".to_owned(),
            setting: "4096".to_owned(),
            unit: Some("kB".to_owned()),
            enumvals: Some(vec!["a".to_owned()]),
            ..SettingRow::default()
        }]
    });
    context.activity = Arc::new(|| {
        vec![ActivityRow {
            pid: 42,
            user: "alice".to_owned(),
            query_start: Some(0),
            state: Some("active".to_owned()),
            ..ActivityRow::default()
        }]
    });
    let session = session(&context);
    let rows = query(
        &session,
        "SELECT name, setting, unit FROM pg_catalog.pg_settings",
    )
    .await;
    assert_eq!(rows, [["work_mem", "4096", "kB"]]);
    let rows = query(
        &session,
        "SELECT pid, usename, datname, query_start, state FROM pg_catalog.pg_stat_activity",
    )
    .await;
    assert_eq!(
        rows,
        [["42", "alice", "mydb", "1970-01-01T00:00:00Z", "active"]]
    );
}

#[tokio::test]
async fn executors_are_rows_also_before_they_said_what_they_use() {
    let (_fixture, mut context) = filled().await;
    context.executors = Arc::new(|| {
        let new = ExecutorRow {
            id: 1,
            address: Some("10.0.0.1:4000".to_owned()),
            state: "active",
            slots: 4,
            slots_free: 1,
            running_tasks: 2,
            memory_bytes: 1000,
            usage: None,
        };
        let old = ExecutorRow {
            id: 2,
            address: None,
            state: "draining",
            usage: Some(ExecutorUsage {
                execution: 10,
                storage: 20,
                results: 30,
                cached: 40,
                unaccounted: 50,
                disk: 60,
                ..ExecutorUsage::default()
            }),
            ..new.clone()
        };
        async { Ok(vec![new, old]) }.boxed()
    });
    let session = session(&context);
    let rows = query(
        &session,
        "SELECT executor_id, address, state, slots, slots_free, running_tasks, memory_bytes \
         FROM firesteel.executors ORDER BY 1",
    )
    .await;
    assert_eq!(
        rows,
        [
            ["1", "10.0.0.1:4000", "active", "4", "1", "2", "1000"],
            ["2", "", "draining", "4", "1", "2", "1000"]
        ]
    );
    let rows = query(
        &session,
        "SELECT execution_bytes, storage_bytes, results_bytes, cached_bytes, unaccounted_bytes, \
         disk_bytes FROM firesteel.executors ORDER BY executor_id",
    )
    .await;
    assert_eq!(
        rows,
        [
            ["", "", "", "", "", ""],
            ["10", "20", "30", "40", "50", "60"]
        ]
    );
}

/// The joins asyncpg's type introspection makes, without its functions.
#[tokio::test]
async fn types_can_be_walked() {
    let (_fixture, context) = filled().await;
    let session = session(&context);
    let rows = query(
        &session,
        "WITH RECURSIVE tree(oid, depth) AS ( \
           SELECT oid, 0 FROM pg_catalog.pg_type WHERE typname = '_numeric' \
           UNION ALL \
           SELECT t.typelem, tree.depth + 1 FROM tree JOIN pg_catalog.pg_type t ON t.oid = tree.oid \
           WHERE t.typelem <> 0) \
         SELECT t.oid, t.typname, t.typtype, n.nspname, p.proname, depth \
         FROM tree JOIN pg_catalog.pg_type t ON t.oid = tree.oid \
         JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
         JOIN pg_catalog.pg_proc p ON p.oid = t.typreceive ORDER BY depth",
    )
    .await;
    assert_eq!(
        rows,
        [
            ["1231", "_numeric", "b", "pg_catalog", "array_recv", "0"],
            ["1700", "numeric", "b", "pg_catalog", "numeric_recv", "1"]
        ]
    );
}

#[tokio::test]
async fn objects_are_found_by_name_and_oid() {
    let (_fixture, context) = filled().await;
    let names = SystemNames::new(context, SearchPath::default());
    let oid = |name: &str| {
        names
            .relation(&ObjectName::bare(name))
            .map(|found| found.oid)
    };
    let t = oid("t").unwrap();
    assert!(names.is_relation_visible(t));
    assert_eq!(names.description(t, 0).as_deref(), Some("the table"));
    assert_eq!(names.description(t, 2).as_deref(), Some("the column"));
    assert_eq!(names.description(t, 9), None);
    assert_eq!(oid("pg_class").unwrap().0, 1259);
    let tmp = names.relation(&ObjectName::bare("tmp")).unwrap();
    assert_eq!(tmp.schema, "pg_temp_3");
    assert_eq!(
        names.relation(&ObjectName::qualified("pg_temp", "tmp")),
        Some(tmp)
    );
    assert_eq!(oid("v"), None);
    let v = names.relation(&ObjectName::qualified("s", "v")).unwrap();
    assert!(!names.is_relation_visible(v.oid));
    assert_eq!(names.view_definition(v.oid).unwrap(), " SELECT a FROM t;");
    let s = names.schema_by_name("s").unwrap();
    assert_eq!(names.schema_by_oid(s).as_deref(), Some("s"));
    let alice = names.role_by_name("alice").unwrap();
    assert_eq!(names.role_by_oid(alice), Some("alice"));
}
