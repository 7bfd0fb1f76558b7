//! External tables: every format, snapshots of their files, and files that are not what they
//! should be.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Int32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use catalog::{FileKind, IfExists, SnapshotTable, find_report};
use datafusion::prelude::{col, lit};
use job::SqlError;

use crate::support::{Fixture, batch, cells, new_table, write_parquet};

#[tokio::test]
async fn parquet_has_statistics_and_views() {
    let fixture = Fixture::new();
    let dir = fixture.path("t/x.parquet");
    write_parquet(&dir, &batch(&[(1, "x"), (2, "y")]));
    write_parquet(&fixture.path("t/sub/y.parquet"), &batch(&[(3, "z")]));
    write_parquet(&fixture.path("t/_hidden/z.parquet"), &batch(&[(9, "no")]));
    fixture.write("t/_SUCCESS", "");
    fixture.write("t/readme.md", "not data");
    fixture
        .external("t", FileKind::Parquet, dir.parent().unwrap())
        .await
        .unwrap();
    let relation = fixture.relation("t");
    assert_eq!(relation.columns.field(1).data_type(), &DataType::Utf8View);
    let snapshot = fixture.resolve("t").await.unwrap();
    assert_eq!(snapshot.rows(), Some(3));
    assert_eq!(snapshot.files().len(), 2);
    let text = fixture
        .query("t", "SELECT b FROM t WHERE a >= 2 ORDER BY a")
        .await
        .unwrap();
    assert_eq!(cells(&text), [["y"], ["z"]]);
}

#[tokio::test]
async fn csv_with_options() {
    let fixture = Fixture::new();
    let path = fixture.write("t.csv", "1;'a;b'\n2;c\n");
    let mut new = new_table(FileKind::Csv, &path);
    new.columns = Some(Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int32, true),
        Field::new("s", DataType::Utf8View, true),
    ])));
    for (name, value) in [("header", "false"), ("delimiter", ";"), ("quote", "'")] {
        new.options.push((name.to_owned(), value.to_owned()));
    }
    fixture.create("t", new, IfExists::Fail).await.unwrap();
    let text = fixture.query("t", "SELECT * FROM t").await.unwrap();
    assert_eq!(cells(&text), [["1", "a;b"], ["2", "c"]]);
}

#[tokio::test]
async fn csv_infers_types_over_several_files() {
    let fixture = Fixture::new();
    fixture.write("t/1.csv", "a,b,c\n1,2,\n");
    fixture.write("t/2.csv", "a,b,c\n3,4.5,x\n");
    fixture
        .external("t", FileKind::Csv, fixture.path("t"))
        .await
        .unwrap();
    let types: Vec<_> = fixture
        .relation("t")
        .columns
        .fields()
        .iter()
        .map(|field| field.data_type().clone())
        .collect();
    assert_eq!(
        types,
        [DataType::Int64, DataType::Float64, DataType::Utf8View]
    );
    let text = fixture
        .query("t", "SELECT a, b, c FROM t ORDER BY a")
        .await
        .unwrap();
    assert_eq!(cells(&text), [["1", "2.0", ""], ["3", "4.5", "x"]]);
    fixture.write("t/3.csv", "a,b\n1,2\n");
    let error = fixture
        .external("u", FileKind::Csv, fixture.path("t"))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("3.csv\" has 2 columns"),
        "{error}"
    );
}

#[tokio::test]
async fn json_lines_and_arrays() {
    let fixture = Fixture::new();
    let lines = fixture.write("l.json", "{\"a\": 1, \"b\": \"x\"}\n{\"a\": 2}\n");
    fixture.external("l", FileKind::Json, lines).await.unwrap();
    let text = fixture
        .query("l", "SELECT a, b FROM l ORDER BY a")
        .await
        .unwrap();
    assert_eq!(cells(&text), [["1", "x"], ["2", ""]]);
    let array = fixture.write("a.json", "[{\"a\": 1}, {\"a\": 2}]");
    let mut new = new_table(FileKind::Json, array);
    new.options
        .push(("newline_delimited".to_owned(), "false".to_owned()));
    fixture.create("a", new, IfExists::Fail).await.unwrap();
    let text = fixture.query("a", "SELECT sum(a) FROM a").await.unwrap();
    assert_eq!(cells(&text), [["3"]]);
}

#[tokio::test]
async fn arrow_files_and_streams() {
    let fixture = Fixture::new();
    let data = batch(&[(1, "x"), (2, "y")]);
    let file = fixture.path("f.arrow");
    let mut writer = arrow::ipc::writer::FileWriter::try_new(
        std::fs::File::create(&file).unwrap(),
        &data.schema(),
    )
    .unwrap();
    writer.write(&data).unwrap();
    writer.finish().unwrap();
    let stream = fixture.path("s.arrow");
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(
        std::fs::File::create(&stream).unwrap(),
        &data.schema(),
    )
    .unwrap();
    writer.write(&data).unwrap();
    writer.finish().unwrap();
    for (name, path) in [("f", file), ("s", stream)] {
        fixture.external(name, FileKind::Arrow, path).await.unwrap();
        let text = fixture
            .query(name, &format!("SELECT b FROM {name} ORDER BY a"))
            .await
            .unwrap();
        assert_eq!(cells(&text), [["x"], ["y"]]);
        let path = fixture.path(&format!("{name}.arrow"));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 40]).unwrap();
        let sql = format!("SELECT * FROM {name}");
        let error = fixture.query(name, &sql).await.unwrap_err();
        assert_eq!(error.sqlstate.as_str(), "XX001", "{error}");
        assert!(
            error.message.contains(".arrow\": the file is truncated"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn avro_files() {
    let fixture = Fixture::new();
    let data = batch(&[(1, "x"), (2, "y")]);
    let path = fixture.path("t.avro");
    let file = std::fs::File::create(&path).unwrap();
    let schema = data.schema().as_ref().clone();
    let mut writer = datafusion::arrow_avro::writer::AvroWriter::new(file, schema).unwrap();
    writer.write(&data).unwrap();
    writer.finish().unwrap();
    fixture.external("t", FileKind::Avro, &path).await.unwrap();
    let text = fixture
        .query("t", "SELECT b FROM t ORDER BY a DESC")
        .await
        .unwrap();
    assert_eq!(cells(&text), [["y"], ["x"]]);
    assert_eq!(fixture.resolve("t").await.unwrap().rows(), Some(2));
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    let error = fixture.query("t", "SELECT * FROM t").await.unwrap_err();
    assert_eq!(error.sqlstate.as_str(), "XX001", "{error}");
    assert!(error.message.contains("t.avro\""), "{error}");
}

#[tokio::test]
async fn compressed_text_is_told_by_its_name() {
    let fixture = Fixture::new();
    // `a\n1\n2\n`, gzipped.
    let gzip: &[u8] = &[
        31, 139, 8, 0, 0, 0, 0, 0, 2, 255, 75, 228, 50, 228, 50, 226, 2, 0, 128, 194, 127, 112, 6,
        0, 0, 0,
    ];
    let path = fixture.path("t.csv.gz");
    std::fs::write(&path, gzip).unwrap();
    let outcome = fixture.external("t", FileKind::Csv, &path).await;
    if let Err(error) = &outcome {
        assert!(error.to_string().contains("t.csv.gz"), "{error}");
        panic!("{error}");
    }
    let text = fixture.query("t", "SELECT sum(a) FROM t").await.unwrap();
    assert_eq!(cells(&text), [["3"]]);
}

#[tokio::test]
async fn globs_and_odd_names() {
    let fixture = Fixture::new();
    for name in ["x 1.csv", "x%41.csv", "x#2.csv", "xé.csv", "y.csv"] {
        fixture.write(&format!("g/{name}"), "a\n1\n");
    }
    fixture
        .external("t", FileKind::Csv, fixture.path("g/x*.csv"))
        .await
        .unwrap();
    let text = fixture.query("t", "SELECT sum(a) FROM t").await.unwrap();
    assert_eq!(cells(&text), [["4"]]);
}

#[tokio::test]
async fn hive_partitions_prune_files() {
    let fixture = Fixture::new();
    for (dir, value) in [
        ("d=1/c=x", 1),
        ("d=2/c=a%2Fb", 2),
        ("d=__HIVE_DEFAULT_PARTITION__/c=x", 3),
    ] {
        write_parquet(
            &fixture.path(&format!("t/{dir}/f.parquet")),
            &batch(&[(value, "v")]),
        );
    }
    let mut new = new_table(FileKind::Parquet, fixture.path("t"));
    new.columns = Some(Arc::new(Schema::new(vec![
        Field::new("d", DataType::Int32, true),
        Field::new("a", DataType::Int64, true),
    ])));
    new.partitioned_by = vec!["d".to_owned(), "c".to_owned()];
    fixture.create("t", new, IfExists::Fail).await.unwrap();
    let text = fixture
        .query("t", "SELECT a, d, c FROM t ORDER BY a")
        .await
        .unwrap();
    assert_eq!(
        cells(&text),
        [["1", "1", "x"], ["2", "2", "a/b"], ["3", "", "x"]]
    );
    let text = fixture
        .query("t", "SELECT a FROM t WHERE d = 2 OR d IS NULL ORDER BY a")
        .await
        .unwrap();
    assert_eq!(cells(&text), [["2"], ["3"]]);

    let provider = fixture.resolve("t").await.unwrap().provider();
    let plan = provider
        .scan(&fixture.context.state(), None, &[col("d").eq(lit(2))], None)
        .await
        .unwrap();
    let shown = datafusion::physical_plan::displayable(plan.as_ref())
        .one_line()
        .to_string();
    assert!(shown.contains("d=2") && !shown.contains("d=1"), "{shown}");

    fixture.write("t/stray.parquet", "");
    let error = fixture.query("t", "SELECT * FROM t").await.unwrap_err();
    assert_eq!(error.sqlstate.as_str(), "42804");
    assert!(error.message.contains("stray.parquet"), "{error}");
}

#[tokio::test]
async fn files_come_and_go_between_statements() {
    let fixture = Fixture::new();
    write_parquet(&fixture.path("t/1.parquet"), &batch(&[(1, "x")]));
    fixture
        .external("t", FileKind::Parquet, fixture.path("t"))
        .await
        .unwrap();
    let count = async || {
        let text = fixture.query("t", "SELECT count(*) FROM t").await.unwrap();
        cells(&text)[0][0].clone()
    };
    assert_eq!(count().await, "1");
    write_parquet(&fixture.path("t/2.parquet"), &batch(&[(2, "y"), (3, "z")]));
    assert_eq!(count().await, "3");
    std::fs::remove_file(fixture.path("t/1.parquet")).unwrap();
    assert_eq!(count().await, "2");
    std::fs::remove_file(fixture.path("t/2.parquet")).unwrap();
    assert_eq!(count().await, "0");
    std::fs::remove_dir_all(fixture.path("t")).unwrap();
    let error = fixture.query("t", "SELECT 1 FROM t").await.unwrap_err();
    assert_eq!(error.sqlstate.as_str(), "58P01");
}

/// Changes a file after the snapshot was taken, with statistics and footers cached from before.
async fn changed_during_a_statement(change: impl FnOnce(&std::path::Path)) -> job::ErrorReport {
    let fixture = Fixture::new();
    let path = fixture.path("t.parquet");
    write_parquet(&path, &batch(&[(1, "x"), (2, "y"), (3, "z")]));
    fixture
        .external("t", FileKind::Parquet, &path)
        .await
        .unwrap();
    fixture.query("t", "SELECT a, b FROM t").await.unwrap();
    let snapshot = fixture.resolve("t").await.unwrap();
    change(&path);
    fixture
        .query_provider("t", snapshot.provider(), "SELECT a, b FROM t")
        .await
        .unwrap_err()
}

#[tokio::test]
async fn a_file_deleted_during_a_statement() {
    let error = changed_during_a_statement(|path| std::fs::remove_file(path).unwrap()).await;
    assert_eq!(error.sqlstate.as_str(), "58P01");
    assert!(error.message.contains("t.parquet"), "{error}");
}

#[tokio::test]
async fn a_file_replaced_during_a_statement() {
    let error = changed_during_a_statement(|path| {
        write_parquet(&path.with_extension("new"), &batch(&[(2, "y")]));
        std::fs::rename(path.with_extension("new"), path).unwrap();
    })
    .await;
    assert_eq!(error.sqlstate.as_str(), "40001");
    assert!(error.message.contains("t.parquet\" changed"), "{error}");
}

#[tokio::test]
async fn a_file_rewritten_in_place_with_the_same_size_and_times() {
    let error = changed_during_a_statement(|path| {
        let modified = std::fs::metadata(path).unwrap().modified().unwrap();
        let mut bytes = std::fs::read(path).unwrap();
        bytes[10] ^= 1;
        std::fs::write(path, bytes).unwrap();
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(modified).unwrap();
    })
    .await;
    assert_eq!(error.sqlstate.as_str(), "40001");
}

/// A table `t` of one file with two rows, and where the file is.
async fn with_a_parquet_file() -> (Fixture, PathBuf) {
    let fixture = Fixture::new();
    let path = fixture.path("t.parquet");
    write_parquet(&path, &batch(&[(1, "x"), (2, "y")]));
    fixture
        .external("t", FileKind::Parquet, &path)
        .await
        .unwrap();
    (fixture, path)
}

#[tokio::test]
async fn cached_footers_are_not_believed_of_a_new_file() {
    let (fixture, path) = with_a_parquet_file().await;
    let query = "SELECT a FROM t WHERE a > 2";
    assert!(cells(&fixture.query("t", query).await.unwrap()).is_empty());
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    let size = std::fs::metadata(&path).unwrap().len();
    write_parquet(&path, &batch(&[(7, "x"), (8, "y")]));
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(modified).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), size);
    assert_eq!(
        cells(&fixture.query("t", query).await.unwrap()),
        [["7"], ["8"]]
    );
}

/// A statement over the old version may end after one over the new version began.
#[tokio::test]
async fn the_footer_of_another_version_is_not_taken_though_it_was_kept_last() {
    let (fixture, path) = with_a_parquet_file().await;
    fixture.query("t", "SELECT a FROM t").await.unwrap();
    let footers = fixture
        .context
        .runtime_env()
        .cache_manager
        .get_file_metadata_cache();
    let location = object_store::path::Path::from_absolute_path(&path).unwrap();
    let old = footers.get(&location).expect("the footer is kept");

    let metadata = std::fs::metadata(&path).unwrap();
    write_parquet(&path, &batch(&[(7, "x"), (8, "y")]));
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(metadata.modified().unwrap()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), metadata.len());
    let new = fixture.resolve("t").await.unwrap();
    footers.put(&location, old);
    // By the old footer, nothing in the file passes.
    let rows = fixture
        .query_provider("t", new.provider(), "SELECT a FROM t WHERE a > 2")
        .await
        .unwrap();
    assert_eq!(cells(&rows), [["7"], ["8"]]);
}

#[tokio::test]
async fn a_csv_file_that_changes_while_it_is_read() {
    let fixture = Fixture::new();
    let path = fixture.write("t.csv", "a\n1\n");
    fixture.external("t", FileKind::Csv, &path).await.unwrap();
    let snapshot = fixture.resolve("t").await.unwrap();
    fixture.write("t.csv", "a\n1\n2\n");
    let error = fixture
        .query_provider("t", snapshot.provider(), "SELECT * FROM t")
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate.as_str(), "40001");
    let text = fixture.query("t", "SELECT count(*) FROM t").await.unwrap();
    assert_eq!(cells(&text), [["2"]]);
}

#[tokio::test]
async fn broken_files_are_named() {
    let fixture = Fixture::new();
    let good = fixture.path("good.parquet");
    write_parquet(&good, &batch(&[(1, "x"), (2, "y")]));
    let bytes = std::fs::read(&good).unwrap();
    for (name, content) in [
        ("truncated", &bytes[..bytes.len() - 7]),
        ("garbage", b"this is no Parquet file at all".as_slice()),
        ("short", b"PAR1".as_slice()),
        ("empty", b"".as_slice()),
    ] {
        let path = fixture.path(&format!("{name}.parquet"));
        std::fs::write(&path, content).unwrap();
        let error = fixture
            .external(name, FileKind::Parquet, &path)
            .await
            .unwrap_err();
        assert_eq!(error.sqlstate().as_str(), "XX001", "{name}: {error}");
        assert!(
            error.to_string().contains(&format!("{name}.parquet\"")),
            "{error}"
        );
    }
    // A page that is broken while the footer is not.
    let mut broken = bytes.clone();
    for byte in &mut broken[4..40] {
        *byte = 0xff;
    }
    let path = fixture.path("page.parquet");
    std::fs::write(&path, broken).unwrap();
    fixture
        .external("page", FileKind::Parquet, &path)
        .await
        .unwrap();
    let error = fixture
        .query("page", "SELECT * FROM page")
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate.as_str(), "XX001", "{error}");
    assert!(error.message.contains("page.parquet\""), "{error}");
}

#[tokio::test]
async fn wrong_values_in_text_files_are_named() {
    let fixture = Fixture::new();
    let path = fixture.write("t.csv", "a\n1\nx\n");
    let mut new = new_table(FileKind::Csv, &path);
    new.columns = Some(Arc::new(Schema::new(vec![Field::new(
        "a",
        DataType::Int32,
        true,
    )])));
    fixture.create("t", new, IfExists::Fail).await.unwrap();
    let error = fixture.query("t", "SELECT * FROM t").await.unwrap_err();
    assert_eq!(error.sqlstate.as_str(), "22P04", "{error}");
    assert!(error.message.contains("t.csv\""), "{error}");
    let path = fixture.write("t.json", "{\"a\": 1}\n{\"a\": \n");
    let error = fixture
        .external("j", FileKind::Json, &path)
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate().as_str(), "22P04", "{error}");
    assert!(error.to_string().contains("t.json\""), "{error}");
}

#[tokio::test]
async fn errors_of_expressions_stay_their_own() {
    let fixture = Fixture::new();
    let path = fixture.path("t.parquet");
    write_parquet(&path, &batch(&[(0, "x")]));
    fixture
        .external("t", FileKind::Parquet, &path)
        .await
        .unwrap();
    let provider = fixture.resolve("t").await.unwrap().provider();
    fixture.context.register_table("t", provider).unwrap();
    let frame = fixture.context.sql("SELECT 1 / a FROM t").await.unwrap();
    let error = frame.collect().await.unwrap_err();
    assert!(find_report(&error).is_none(), "{error}");
    assert!(error.to_string().contains("Divide by zero"), "{error}");
}

#[tokio::test]
async fn a_later_file_of_another_type() {
    let fixture = Fixture::new();
    write_parquet(&fixture.path("t/1.parquet"), &batch(&[(1, "x")]));
    fixture
        .external("t", FileKind::Parquet, fixture.path("t"))
        .await
        .unwrap();
    let int =
        RecordBatch::try_from_iter([("a", Arc::new(Int32Array::from(vec![Some(5), None])) as _)])
            .unwrap();
    // Narrower integers widen, a missing column is null, and nulls may come.
    write_parquet(&fixture.path("t/2.parquet"), &int);
    let text = fixture
        .query("t", "SELECT a, b FROM t WHERE b IS NULL ORDER BY a")
        .await
        .unwrap();
    assert_eq!(cells(&text), [["5", ""], ["", ""]]);
    let text = RecordBatch::try_from_iter([(
        "a",
        Arc::new(arrow::array::StringArray::from(vec!["no"])) as _,
    )])
    .unwrap();
    write_parquet(&fixture.path("t/3.parquet"), &text);
    let error = fixture.query("t", "SELECT a FROM t").await.unwrap_err();
    assert_eq!(error.sqlstate.as_str(), "42804");
    assert!(
        error
            .message
            .contains("3.parquet\" has type text, but the table declares bigint"),
        "{error}"
    );
}

#[tokio::test]
async fn empty_locations() {
    let fixture = Fixture::new();
    std::fs::create_dir_all(fixture.path("empty")).unwrap();
    let error = fixture
        .external("t", FileKind::Parquet, fixture.path("empty"))
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate().as_str(), "42P16");
    let mut new = new_table(FileKind::Parquet, fixture.path("empty"));
    new.columns = Some(batch(&[]).schema());
    fixture.create("t", new, IfExists::Fail).await.unwrap();
    let text = fixture.query("t", "SELECT count(*) FROM t").await.unwrap();
    assert_eq!(cells(&text), [["0"]]);
}

#[tokio::test]
async fn paths_can_be_queried_without_a_table() {
    let fixture = Fixture::new();
    write_parquet(&fixture.path("p/1.parquet"), &batch(&[(1, "x")]));
    write_parquet(&fixture.path("p/2.parquet"), &batch(&[(2, "y")]));
    for location in ["p", "p/*.parquet", "p/1.parquet"] {
        let location = fixture.path(location);
        let provider = fixture
            .catalog
            .path_table(location.to_str().unwrap(), &fixture.context.state())
            .await
            .unwrap();
        assert!(provider.downcast_ref::<SnapshotTable>().is_some());
    }
    let error = fixture
        .catalog
        .path_table("/etc/hostname", &fixture.context.state())
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate().as_str(), "22023");
}

#[tokio::test]
async fn limits_and_projections() {
    let fixture = Fixture::new();
    for number in 0..4 {
        let rows: Vec<_> = (0..100).map(|row| (number * 100 + row, "v")).collect();
        write_parquet(&fixture.path(&format!("t/{number}.parquet")), &batch(&rows));
    }
    fixture
        .external("t", FileKind::Parquet, fixture.path("t"))
        .await
        .unwrap();
    let text = fixture
        .query("t", "SELECT count(*) FROM (SELECT a FROM t LIMIT 150)")
        .await
        .unwrap();
    assert_eq!(cells(&text), [["150"]]);
    let text = fixture
        .query("t", "SELECT count(*), min(a), max(a) FROM t")
        .await
        .unwrap();
    assert_eq!(cells(&text), [["400", "0", "399"]]);
    let text = fixture
        .query(
            "t",
            "SELECT max(a) FROM t WHERE b = 'v' AND a < 250 LIMIT 1",
        )
        .await
        .unwrap();
    assert_eq!(cells(&text), [["249"]]);
}
