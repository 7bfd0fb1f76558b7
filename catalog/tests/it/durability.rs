//! Acknowledged DDL survives whatever happens to the process.

use std::path::Path;

use catalog::{Catalog, DropBehavior, FileKind, IfExists, ObjectName, Oid, SearchPath};

use crate::support::{Fixture, batch, new_table, write_parquet};

/// Copies the SQLite file and its log as a crash would leave them: nobody closed anything.
fn crash_copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test]
async fn a_fresh_catalog_has_public_and_keeps_what_it_is_told() {
    let fixture = Fixture::new();
    let file = fixture.path("t.parquet");
    write_parquet(&file, &batch(&[(1, "x")]));
    let oid = fixture
        .external("t", FileKind::Parquet, &file)
        .await
        .unwrap()
        .oid;
    fixture.catalog.create_schema("s", false).await.unwrap();
    let data = fixture.dir.path().join("data");

    let copy = fixture.dir.path().join("copy");
    crash_copy(&data, &copy);
    let reopened = Catalog::open(&copy).unwrap();
    let snapshot = reopened.snapshot();
    let names: Vec<_> = snapshot.schemas().map(|s| s.name.clone()).collect();
    assert_eq!(names, ["public", "s"]);
    assert_eq!(snapshot.schema("public").unwrap().oid, Oid::PUBLIC);
    let relation = snapshot.relation("public", "t").unwrap();
    assert_eq!(Some(relation.oid), oid);
    assert_eq!(relation.as_ref(), fixture.relation("t").as_ref());
    assert!(relation.oid >= Oid::FIRST_USER);
}

#[tokio::test]
async fn every_prefix_of_a_run_of_ddl_is_recovered() {
    let fixture = Fixture::new();
    let data = fixture.dir.path().join("data");
    for number in 0..20 {
        fixture
            .catalog
            .create_schema(&format!("s{number}"), false)
            .await
            .unwrap();
        let copy = fixture.dir.path().join(format!("copy{number}"));
        crash_copy(&data, &copy);
        let reopened = Catalog::open(&copy).unwrap();
        assert!(reopened.snapshot().schema(&format!("s{number}")).is_some());
        assert_eq!(reopened.snapshot().schemas().count(), number + 2);
    }
}

#[tokio::test]
async fn oids_are_never_used_twice() {
    let fixture = Fixture::new();
    let data = fixture.dir.path().join("data");
    let first = fixture
        .catalog
        .create_schema("a", false)
        .await
        .unwrap()
        .oid
        .unwrap();
    fixture
        .catalog
        .drop_schema("a", false, DropBehavior::Restrict)
        .await
        .unwrap();
    let copy = fixture.dir.path().join("copy");
    crash_copy(&data, &copy);
    let reopened = Catalog::open(&copy).unwrap();
    let second = reopened
        .create_schema("a", false)
        .await
        .unwrap()
        .oid
        .unwrap();
    assert!(second > first);
}

#[tokio::test]
async fn a_replaced_table_keeps_its_oid_after_a_restart() {
    let fixture = Fixture::new();
    let csv = fixture.write("t.csv", "x\n1\n");
    let first = fixture.external("t", FileKind::Csv, &csv).await.unwrap();
    let csv2 = fixture.write("t2.csv", "y,z\n1,2\n");
    let second = fixture
        .create("t", new_table(FileKind::Csv, &csv2), IfExists::Replace)
        .await
        .unwrap();
    assert_eq!(first.oid, second.oid);
    let copy = fixture.dir.path().join("copy");
    crash_copy(&fixture.dir.path().join("data"), &copy);
    let reopened = Catalog::open(&copy).unwrap().snapshot();
    let relation = reopened
        .lookup(&ObjectName::bare("t"), &SearchPath::default())
        .unwrap();
    assert_eq!(Some(relation.oid), first.oid);
    assert_eq!(relation.columns.field(1).name(), "z");
}

#[tokio::test]
async fn settings_are_kept() {
    let fixture = Fixture::new();
    let catalog = &fixture.catalog;
    catalog
        .put_setting("bob", "", "work_mem", Some("1MB"))
        .await
        .unwrap();
    catalog
        .put_setting("bob", "", "work_mem", Some("2MB"))
        .await
        .unwrap();
    catalog
        .put_setting("", "db", "search_path", Some("s"))
        .await
        .unwrap();
    catalog
        .put_setting("", "db", "search_path", None)
        .await
        .unwrap();
    let copy = fixture.dir.path().join("copy");
    crash_copy(&fixture.dir.path().join("data"), &copy);
    let reopened = Catalog::open(&copy).unwrap();
    let settings = reopened.settings().await.unwrap();
    let row = ["bob", "", "work_mem", "2MB"].map(str::to_owned);
    assert_eq!(settings, [row.into()]);
}

/// Where the child of [`a_killed_process_keeps_what_it_acknowledged`] works; unset in other runs.
const CHILD_DIR: &str = "FIRESTEEL_TEST_CHILD_DIR";

/// Not a test of its own: creates schemas until it is killed, and says which.
#[tokio::test]
async fn child_that_runs_ddl() {
    use std::io::Write;
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let catalog = Catalog::open(Path::new(&dir)).unwrap();
    for number in 0.. {
        catalog
            .create_schema(&format!("s{number}"), false)
            .await
            .unwrap();
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "ack {number}").unwrap();
        stdout.flush().unwrap();
    }
}

#[tokio::test]
async fn a_killed_process_keeps_what_it_acknowledged() {
    use std::io::BufRead;
    let dir = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "durability::child_that_runs_ddl", "--nocapture"])
        .env(CHILD_DIR, dir.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = None;
    while last < Some(40) {
        let line = lines
            .next()
            .expect("the child runs until it is killed")
            .unwrap();
        last = line
            .rsplit_once("ack ")
            .map(|(_, number)| number.parse::<usize>().unwrap())
            .or(last);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let snapshot = Catalog::open(dir.path()).unwrap().snapshot();
    for number in 0..=last.unwrap() {
        assert!(
            snapshot.schema(&format!("s{number}")).is_some(),
            "s{number}"
        );
    }
}
