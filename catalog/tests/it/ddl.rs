//! DDL and its errors, with PostgreSQL's SQLSTATEs and words.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use catalog::{
    CatalogError, CommentTarget, DdlOutcome, DropBehavior, FileKind, IfExists, NewExternalTable,
    ObjectName, Oid, RelationKind, SearchPath, ViewDefinition,
};
use job::SqlError;

use crate::support::{Fixture, new_table};

fn path() -> SearchPath {
    SearchPath::default()
}

fn columns(names: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(
        names
            .iter()
            .map(|(name, data_type)| Field::new(*name, data_type.clone(), true))
            .collect::<Vec<_>>(),
    ))
}

async fn view(
    fixture: &Fixture,
    name: ObjectName,
    depends_on: Vec<Oid>,
    columns: SchemaRef,
    if_exists: IfExists,
) -> Result<DdlOutcome, CatalogError> {
    let view = ViewDefinition {
        sql: "SELECT …".to_owned(),
        depends_on,
        search_path: vec!["public".to_owned()],
    };
    fixture
        .catalog
        .create_view(&name, &path(), view, columns, if_exists)
        .await
}

/// `t` (a table), `v` over it, `s.w` over `v`.
async fn with_views() -> Fixture {
    let fixture = Fixture::new();
    let csv = fixture.write("t.csv", "a\n1\n");
    let t = fixture.external("t", FileKind::Csv, csv).await.unwrap();
    fixture.catalog.create_schema("s", false).await.unwrap();
    let a = columns(&[("a", DataType::Int64)]);
    let v = view(
        &fixture,
        ObjectName::bare("v"),
        vec![t.oid.unwrap()],
        Arc::clone(&a),
        IfExists::Fail,
    )
    .await
    .unwrap();
    view(
        &fixture,
        ObjectName::qualified("s", "w"),
        vec![v.oid.unwrap()],
        a,
        IfExists::Fail,
    )
    .await
    .unwrap();
    fixture
}

#[track_caller]
fn assert_error<T: std::fmt::Debug>(result: Result<T, CatalogError>, code: &str, message: &str) {
    let error = result.unwrap_err();
    assert_eq!(
        (error.sqlstate().as_str(), error.to_string().as_str()),
        (code, message)
    );
}

async fn drop(
    fixture: &Fixture,
    kind: RelationKind,
    name: ObjectName,
    if_exists: bool,
    behavior: DropBehavior,
) -> Result<DdlOutcome, CatalogError> {
    fixture
        .catalog
        .drop_relation(kind, &name, &path(), if_exists, behavior)
        .await
}

#[tokio::test]
async fn schema_errors() {
    let fixture = with_views().await;
    let catalog = &fixture.catalog;
    assert_error(
        catalog.create_schema("s", false).await,
        "42P06",
        "schema \"s\" already exists",
    );
    let skipped = catalog.create_schema("s", true).await.unwrap();
    assert_eq!(
        skipped.notices[0].message,
        "schema \"s\" already exists, skipping"
    );
    assert_error(
        catalog.create_schema("pg_mine", false).await,
        "42939",
        "unacceptable schema name \"pg_mine\"",
    );
    assert_error(
        catalog.create_schema("information_schema", false).await,
        "42P06",
        "schema \"information_schema\" already exists",
    );
    assert_error(
        catalog
            .drop_schema("nope", false, DropBehavior::Restrict)
            .await,
        "3F000",
        "schema \"nope\" does not exist",
    );
    assert_eq!(
        catalog
            .drop_schema("nope", true, DropBehavior::Restrict)
            .await
            .unwrap()
            .notices[0]
            .message,
        "schema \"nope\" does not exist, skipping"
    );
    assert_error(
        catalog
            .drop_schema("pg_catalog", false, DropBehavior::Cascade)
            .await,
        "2BP01",
        "cannot drop schema pg_catalog because it is required by the database system",
    );
    let error = catalog
        .drop_schema("s", false, DropBehavior::Restrict)
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate().as_str(), "2BP01");
    assert_eq!(error.detail().unwrap(), "view s.w depends on schema s");
    let dropped = catalog
        .drop_schema("s", false, DropBehavior::Cascade)
        .await
        .unwrap();
    assert_eq!(dropped.notices[0].message, "drop cascades to view s.w");
    assert!(catalog.snapshot().schema("s").is_none());
}

#[tokio::test]
async fn names_that_are_taken_or_missing() {
    let fixture = with_views().await;
    let csv = fixture.write("u.csv", "a\n1\n");
    assert_error(
        fixture.external("t", FileKind::Csv, &csv).await,
        "42P07",
        "relation \"t\" already exists",
    );
    let skipped = fixture
        .create("t", new_table(FileKind::Csv, &csv), IfExists::Skip)
        .await
        .unwrap();
    assert_eq!(
        skipped.notices[0].message,
        "relation \"t\" already exists, skipping"
    );
    assert_error(
        fixture
            .create("v", new_table(FileKind::Csv, &csv), IfExists::Replace)
            .await,
        "42809",
        "\"v\" is not a table",
    );
    let state = fixture.context.state();
    let create = |schema: &str| {
        let name = ObjectName::qualified(schema, "x");
        let new = new_table(FileKind::Csv, &csv);
        let (catalog, state) = (Arc::clone(&fixture.catalog), &state);
        async move {
            catalog
                .create_external_table(&name, &path(), new, IfExists::Fail, state)
                .await
        }
    };
    assert_error(
        create("nope").await,
        "3F000",
        "schema \"nope\" does not exist",
    );
    assert_error(
        create("pg_catalog").await,
        "42501",
        "permission denied to create \"pg_catalog.x\"",
    );
    let nowhere = SearchPath(vec!["nope".to_owned()]);
    assert_error(
        fixture
            .catalog
            .create_external_table(
                &ObjectName::bare("x"),
                &nowhere,
                new_table(FileKind::Csv, &csv),
                IfExists::Fail,
                &state,
            )
            .await,
        "3F000",
        "no schema has been selected to create in",
    );
}

#[tokio::test]
async fn drop_errors() {
    use DropBehavior::{Cascade, Restrict};
    use RelationKind::{Table, View};
    let fixture = with_views().await;
    let bare = ObjectName::bare;
    assert_error(
        drop(&fixture, Table, bare("nope"), false, Restrict).await,
        "42P01",
        "table \"nope\" does not exist",
    );
    assert_error(
        drop(
            &fixture,
            View,
            ObjectName::qualified("z", "nope"),
            false,
            Restrict,
        )
        .await,
        "3F000",
        "schema \"z\" does not exist",
    );
    let skipped = drop(&fixture, View, bare("nope"), true, Restrict)
        .await
        .unwrap();
    assert_eq!(
        skipped.notices[0].message,
        "view \"nope\" does not exist, skipping"
    );
    let error = drop(&fixture, Table, bare("v"), true, Restrict)
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate().as_str(), "42809");
    assert_eq!(error.to_string(), "\"v\" is not a table");
    assert_eq!(error.hint().unwrap(), "Use DROP VIEW to remove a view.");

    let error = drop(&fixture, Table, bare("t"), false, Restrict)
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate().as_str(), "2BP01");
    assert_eq!(
        error.to_string(),
        "cannot drop table t because other objects depend on it"
    );
    assert_eq!(
        error.detail().unwrap(),
        "view v depends on table t\nview s.w depends on view v"
    );
    assert_eq!(
        error.hint().unwrap(),
        "Use DROP ... CASCADE to drop the dependent objects too."
    );
    let dropped = drop(&fixture, Table, bare("t"), false, Cascade)
        .await
        .unwrap();
    assert_eq!(
        dropped.notices[0].message,
        "drop cascades to 2 other objects"
    );
    assert_eq!(
        dropped.notices[0].detail.as_deref(),
        Some("drop cascades to view v\ndrop cascades to view s.w")
    );
    assert_eq!(fixture.catalog.snapshot().relations().count(), 0);
}

#[tokio::test]
async fn replacing_a_view_keeps_its_columns() {
    let fixture = with_views().await;
    let t = fixture.relation("t").oid;
    let replace = |new: SchemaRef| {
        let fixture = &fixture;
        async move {
            view(
                fixture,
                ObjectName::bare("v"),
                vec![t],
                new,
                IfExists::Replace,
            )
            .await
        }
    };
    assert_error(
        replace(columns(&[("b", DataType::Int64)])).await,
        "42P16",
        "cannot change name of view column \"a\" to \"b\"",
    );
    assert_error(
        replace(columns(&[("a", DataType::Utf8View)])).await,
        "42P16",
        "cannot change data type of view column \"a\" from bigint to text",
    );
    assert_error(
        replace(columns(&[])).await,
        "42P16",
        "cannot drop columns from view",
    );
    let oid = fixture.relation("v").oid;
    let wider = columns(&[("a", DataType::Int64), ("b", DataType::Utf8View)]);
    assert_eq!(replace(wider).await.unwrap().oid, Some(oid));
    // A view must not come to read itself.
    let w = fixture.catalog.snapshot().relation("s", "w").unwrap().oid;
    let error = view(
        &fixture,
        ObjectName::bare("v"),
        vec![w],
        columns(&[("a", DataType::Int64), ("b", DataType::Utf8View)]),
        IfExists::Replace,
    )
    .await
    .unwrap_err();
    assert_eq!(error.sqlstate().as_str(), "42P17");
}

#[tokio::test]
async fn comments() {
    let fixture = with_views().await;
    let comment = |target, text: Option<&str>| {
        let text = text.map(str::to_owned);
        let catalog = Arc::clone(&fixture.catalog);
        async move { catalog.comment(target, &path(), text).await }
    };
    let on_table = CommentTarget::Relation {
        kind: RelationKind::Table,
        name: ObjectName::bare("t"),
    };
    comment(on_table.clone(), Some("numbers")).await.unwrap();
    let on_column = |column: &str| CommentTarget::Column {
        relation: ObjectName::bare("t"),
        column: column.to_owned(),
    };
    comment(on_column("a"), Some("one")).await.unwrap();
    let t = fixture.relation("t");
    assert_eq!(t.comment.as_deref(), Some("numbers"));
    assert_eq!(t.column_comments["a"], "one");
    comment(on_table, None).await.unwrap();
    assert_eq!(fixture.relation("t").comment, None);
    assert_error(
        comment(on_column("z"), Some("?")).await,
        "42703",
        "column \"z\" of relation \"t\" does not exist",
    );
    assert_error(
        comment(
            CommentTarget::Relation {
                kind: RelationKind::View,
                name: ObjectName::bare("t"),
            },
            None,
        )
        .await,
        "42809",
        "\"t\" is not a view",
    );
}

#[tokio::test]
async fn definitions_that_make_no_sense() {
    let fixture = Fixture::new();
    let csv = fixture.write("t.csv", "a,b\n1,2\n");
    let create = |change: &dyn Fn(&mut NewExternalTable)| {
        let mut new = new_table(FileKind::Csv, &csv);
        change(&mut new);
        fixture.create("x", new, IfExists::Fail)
    };
    assert_error(
        create(&|new| {
            new.columns = Some(columns(&[("a", DataType::Int64), ("a", DataType::Int64)]));
        })
        .await,
        "42701",
        "column \"a\" specified more than once",
    );
    assert_error(
        create(&|new| new.options = vec![("colour".to_owned(), "red".to_owned())]).await,
        "HV00D",
        "invalid option \"colour\" for format CSV",
    );
    assert_error(
        create(&|new| new.location = "s3://bucket/x".to_owned()).await,
        "0A000",
        "locations with scheme \"s3\" are not supported",
    );
    assert_error(
        create(&|new| new.location = "/no/such/file.csv".to_owned()).await,
        "58P01",
        "could not open file \"/no/such/file.csv\": No such file or directory",
    );
    assert_error(
        create(&|new| {
            new.columns = Some(columns(&[("a", DataType::Int64)]));
            new.partitioned_by = vec!["a".to_owned()];
        })
        .await,
        "42P16",
        "a table must have at least one column that is not a partition column",
    );
    let wide: Vec<_> = (0..1601).map(|i| format!("c{i}")).collect();
    assert_error(
        create(&|new| {
            new.columns = Some(Arc::new(Schema::new(
                wide.iter()
                    .map(|name| Field::new(name, DataType::Int32, true))
                    .collect::<Vec<_>>(),
            )));
        })
        .await,
        "54011",
        "tables can have at most 1600 columns",
    );
}

#[tokio::test]
async fn a_transaction_blocks_changes_are_its_own_until_it_commits() {
    let fixture = Fixture::new();
    let catalog = &fixture.catalog;
    let block = catalog.begin();
    block.create_schema("s", false).await.unwrap();
    let savepoint = block.savepoint();
    block.create_schema("t", false).await.unwrap();
    assert!(block.snapshot().schema("t").is_some());
    block.rollback_to(&savepoint);
    assert!(block.snapshot().schema("t").is_none());
    assert!(catalog.snapshot().schema("s").is_none());
    catalog.commit(&block).await.unwrap();
    assert!(catalog.snapshot().schema("s").is_some());
    assert!(catalog.snapshot().schema("t").is_none());

    // Two blocks from the same version: the second to commit has lost.
    let (first, second) = (catalog.begin(), catalog.begin());
    first.create_schema("a", false).await.unwrap();
    second.create_schema("b", false).await.unwrap();
    catalog.commit(&first).await.unwrap();
    let error = catalog.commit(&second).await.unwrap_err();
    assert_eq!(error.report().sqlstate.as_str(), "40001");
    assert!(catalog.snapshot().schema("b").is_none());
}
