//! Temporary tables: all or nothing, gone with their session, compact.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use catalog::{
    Catalog, DropBehavior, IfExists, RelationKind, SessionTables, TempWrite, ViewDefinition,
    temp_writer_properties,
};
use job::{SessionId, SqlError, WrittenFile};

use crate::support::{Fixture, batch, cells};

async fn table(fixture: &Fixture) -> Arc<SessionTables> {
    let tables = fixture.catalog.session_tables(SessionId(7));
    tables
        .create("t", batch(&[]).schema(), vec![None, None], IfExists::Fail)
        .await
        .unwrap();
    tables
}

/// Answers whether there was one.
fn drop_table(tables: &Arc<SessionTables>, name: &str) -> bool {
    let dropped = tables.drop_relation(RelationKind::Table, name, DropBehavior::Restrict);
    dropped.unwrap().is_some()
}

/// What a task does.
fn write_file(write: &TempWrite, name: &str, batch: &RecordBatch) -> WrittenFile {
    let path = write.dir().join(name);
    let file = std::fs::File::create(&path).unwrap();
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(file, batch.schema(), Some(temp_writer_properties()))
            .unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    WrittenFile {
        path: path.to_str().unwrap().to_owned(),
        rows: batch.num_rows() as u64,
        bytes: std::fs::metadata(&path).unwrap().len(),
    }
}

async fn insert(tables: &Arc<SessionTables>, rows: &[(i64, &str)]) {
    let write = tables.begin_write("t").await.unwrap();
    let file = write_file(&write, "part-0.parquet", &batch(rows));
    write.commit(vec![file], false).await.unwrap();
}

async fn rows(fixture: &Fixture, tables: &SessionTables) -> Vec<Vec<String>> {
    let table = tables.get("t").unwrap();
    let snapshot = table.resolve(&fixture.context.state()).await.unwrap();
    assert_eq!(snapshot.rows(), Some(table.rows()));
    let text = fixture
        .query_provider("t", snapshot.provider(), "SELECT * FROM t ORDER BY a")
        .await
        .unwrap();
    cells(&text)
}

fn files_below(dir: &Path) -> usize {
    std::fs::read_dir(dir).map_or(0, |entries| {
        entries
            .map(|entry| entry.unwrap().path())
            .map(|path| if path.is_dir() { files_below(&path) } else { 1 })
            .sum()
    })
}

#[tokio::test]
async fn rows_appear_when_the_write_commits() {
    let fixture = Fixture::new();
    let tables = table(&fixture).await;
    assert!(rows(&fixture, &tables).await.is_empty());
    let write = tables.begin_write("t").await.unwrap();
    let first = write_file(&write, "a.parquet", &batch(&[(1, "x")]));
    let second = write_file(&write, "b.parquet", &batch(&[(2, "y")]));
    // Another attempt of the same task, not accepted.
    write_file(&write, "a-attempt-1.parquet", &batch(&[(1, "x")]));
    assert_eq!(tables.get("t").unwrap().rows(), 0);
    write.commit(vec![first, second], false).await.unwrap();
    assert_eq!(rows(&fixture, &tables).await, [["1", "x"], ["2", "y"]]);
    assert_eq!(files_below(&fixture.dir.path().join("data/temp")), 2);
}

#[tokio::test]
async fn a_failed_write_leaves_nothing() {
    let fixture = Fixture::new();
    let tables = table(&fixture).await;
    let write = tables.begin_write("t").await.unwrap();
    write_file(&write, "a.parquet", &batch(&[(1, "x")]));
    drop(write);
    assert!(rows(&fixture, &tables).await.is_empty());
    assert_eq!(files_below(&fixture.dir.path().join("data/temp")), 0);
}

#[tokio::test]
async fn thousands_of_small_inserts_stay_few_files() {
    let fixture = Fixture::new();
    let tables = table(&fixture).await;
    for number in 0..500 {
        insert(&tables, &[(number, "x")]).await;
        assert!(tables.get("t").unwrap().file_count() <= 16);
    }
    let rows = rows(&fixture, &tables).await;
    assert_eq!(rows.len(), 500);
    assert_eq!(rows[499][0], "499");
}

#[tokio::test]
async fn a_statement_reads_what_was_there_when_it_began() {
    let fixture = Fixture::new();
    let tables = table(&fixture).await;
    insert(&tables, &[(1, "x")]).await;
    let before = tables
        .get("t")
        .unwrap()
        .resolve(&fixture.context.state())
        .await
        .unwrap();
    for number in 2..20 {
        insert(&tables, &[(number, "x")]).await;
    }
    assert!(drop_table(&tables, "t"));
    // Merged away and dropped since, and yet there for the statement that holds it.
    let text = fixture
        .query_provider("t", before.provider(), "SELECT a FROM t")
        .await
        .unwrap();
    assert_eq!(cells(&text), [["1"]]);
    drop(before);
    fixture.context.deregister_table("t").unwrap();
    assert_eq!(files_below(&fixture.dir.path().join("data/temp")), 0);
}

#[tokio::test]
async fn replacing_truncating_dropping() {
    let fixture = Fixture::new();
    let tables = table(&fixture).await;
    insert(&tables, &[(1, "x"), (2, "y")]).await;
    let write = tables.begin_write("t").await.unwrap();
    let file = write_file(&write, "a.parquet", &batch(&[(3, "z")]));
    write.commit(vec![file], true).await.unwrap();
    assert_eq!(rows(&fixture, &tables).await, [["3", "z"]]);
    tables.truncate("t").unwrap();
    assert!(rows(&fixture, &tables).await.is_empty());

    let taken = tables
        .create("t", batch(&[]).schema(), vec![None, None], IfExists::Fail)
        .await
        .unwrap_err();
    assert_eq!(taken.sqlstate().as_str(), "42P07");
    assert!(drop_table(&tables, "t"));
    assert!(!drop_table(&tables, "t"));
    let gone = tables.begin_write("t").await.unwrap_err();
    assert_eq!(gone.to_string(), "relation \"t\" does not exist");
}

#[tokio::test]
async fn a_table_dropped_during_a_write_takes_the_write_with_it() {
    let fixture = Fixture::new();
    let tables = table(&fixture).await;
    let write = tables.begin_write("t").await.unwrap();
    let file = write_file(&write, "a.parquet", &batch(&[(1, "x")]));
    assert!(drop_table(&tables, "t"));
    let error = write.commit(vec![file], false).await.unwrap_err();
    assert_eq!(error.sqlstate().as_str(), "42P01");
    assert_eq!(files_below(&fixture.dir.path().join("data/temp")), 0);
}

#[tokio::test]
async fn sessions_end_and_crashes_leave_no_files() {
    let fixture = Fixture::new();
    let tables = table(&fixture).await;
    insert(&tables, &[(1, "x")]).await;
    let other = fixture.catalog.session_tables(SessionId(8));
    assert!(other.get("t").is_none(), "tables are the session's own");
    let temp = fixture.dir.path().join("data/temp");
    assert_eq!(files_below(&temp), 1);
    drop(tables);
    assert_eq!(files_below(&temp), 0);

    std::fs::create_dir_all(temp.join("99/1")).unwrap();
    std::fs::write(temp.join("99/1/part.parquet"), "left by a crash").unwrap();
    let data = fixture.dir.path().join("data");
    let taken = Catalog::open(&data).unwrap_err();
    assert!(taken.to_string().contains("in use"), "{taken}");
    assert_eq!(
        files_below(&temp),
        1,
        "another driver's files are left alone"
    );
    drop(other);
    let Fixture { dir, catalog, .. } = fixture;
    drop(catalog);
    Catalog::open(&data).unwrap();
    assert_eq!(files_below(&temp), 0);
    drop(dir);
}

#[tokio::test]
async fn views_share_the_names_of_tables_and_go_with_what_they_read() {
    let fixture = Fixture::new();
    let tables = table(&fixture).await;
    let columns = batch(&[]).schema();
    let view = |on: &str| {
        let oid = match tables.get(on) {
            Some(table) => table.oid,
            None => tables.view(on).unwrap().oid,
        };
        ViewDefinition {
            sql: format!("SELECT * FROM {on}"),
            depends_on: vec![oid],
            search_path: Vec::new(),
        }
    };
    let create = |name: &'static str, definition, if_exists| {
        tables.create_view(name, definition, columns.clone(), if_exists)
    };
    let error = create("t", view("t"), IfExists::Fail).await.unwrap_err();
    assert_eq!(error.report().message, "relation \"t\" already exists");
    create("v", view("t"), IfExists::Fail).await.unwrap();
    create("w", view("v"), IfExists::Fail).await.unwrap();
    // A view cannot come to read itself.
    let error = create("v", view("w"), IfExists::Replace).await.unwrap_err();
    assert!(error.report().message.contains("infinite recursion"));
    let drop = |kind, name, behavior| tables.drop_relation(kind, name, behavior);
    let error = drop(RelationKind::View, "t", DropBehavior::Restrict).unwrap_err();
    assert_eq!(error.report().message, "\"t\" is not a view");
    let error = drop(RelationKind::Table, "t", DropBehavior::Restrict).unwrap_err();
    assert_eq!(
        error.report().detail.as_deref(),
        Some("view v depends on table t\nview w depends on view v")
    );
    let saved = tables.save();
    let outcome = drop(RelationKind::Table, "t", DropBehavior::Cascade)
        .unwrap()
        .unwrap();
    assert_eq!(
        outcome.notices[0].message,
        "drop cascades to 2 other objects"
    );
    assert!(tables.tables().is_empty() && tables.views().is_empty());
    tables.restore(saved);
    assert_eq!(tables.views().len(), 2);
    tables.drop_all();
    assert!(tables.views().is_empty());
}
