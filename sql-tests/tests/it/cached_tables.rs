//! CACHE TABLE and its kin: what they keep where, and that answers stay those of the files.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use sql_tests::server::Server;
use sql_tests::wire::Wire;

use super::cached_columns::{
    FILE_ROWS, QUERIES, create, expected, found, rows, server, settle, sum_of, tables, write,
};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const LEVELS: [&str; 5] = [
    "MEMORY_ONLY",
    "MEMORY_ONLY_SER",
    "MEMORY_AND_DISK",
    "MEMORY_AND_DISK_SER",
    "DISK_ONLY",
];

const CACHED_BYTES: &str = "firesteel_memory_cached_bytes";
const DISK_BYTES: &str = "firesteel_cache_disk_bytes";

/// What the keeper logs.
const LOADED: &str = "loaded a cached table";

const LONG_TASKS: usize = 60;

fn check_all(wire: &mut Wire, want: &[Vec<Vec<Option<String>>>], what: &str) -> Result {
    for (sql, want) in QUERIES.iter().zip(want) {
        assert_eq!(&rows(wire, sql)?, want, "{what}: {sql}");
    }
    Ok(())
}

/// Executors are told after the statement is answered.
fn wait_until(what: &str, is_so: impl Fn() -> Result<bool>) -> Result {
    for _ in 0..500 {
        if is_so()? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(format!("in vain: {what}").into())
}

fn sqlstate(wire: &mut Wire, sql: &str) -> Option<String> {
    let error = wire.simple(sql).err()?;
    error.sqlstate().map(ToOwned::to_owned)
}

#[test]
fn every_level_keeps_what_it_says_and_answers_alike() -> Result {
    let folder = tempfile::tempdir()?;
    tables(folder.path())?;
    let want = expected(folder.path())?;
    let server = server("75", "10", 0, "1GiB")?;
    let mut wire = server.connect()?;
    create(&mut wire, folder.path())?;
    let mut memory = Vec::new();
    for level in LEVELS {
        wire.simple(&format!("CACHE TABLE t OPTIONS (storage_level {level})"))?;
        let cached = server.metric(CACHED_BYTES)?;
        let on_disk = server.metric(DISK_BYTES)?;
        assert_eq!(cached > 1 << 20, level != "DISK_ONLY", "{level}: {cached}");
        assert_eq!(
            on_disk > 1 << 20,
            level == "DISK_ONLY",
            "{level}: {on_disk}"
        );
        memory.push(cached);
        // Seen from SQL.
        let blocks = rows(
            &mut wire,
            "SELECT count(*), min(storage_level), sum(memory_bytes) > 1000, sum(disk_bytes) > 1000 \
             FROM firesteel.blocks WHERE path LIKE '%/t/part=_/_.parquet'",
        )?;
        let yes = |yes: bool| Some(if yes { "t" } else { "f" }.to_owned());
        let in_memory = level != "DISK_ONLY";
        let wanted = [
            Some("3".to_owned()),
            Some(level.to_owned()),
            yes(in_memory),
            yes(!in_memory),
        ];
        assert_eq!(blocks, [wanted], "{level}");
        let caches = rows(
            &mut wire,
            "SELECT cache FROM firesteel.caches WHERE chunks > 20 AND bytes > 1000 AND loaded_bytes >= bytes",
        )?;
        let wanted = if in_memory { "memory" } else { "disk" };
        assert_eq!(
            caches,
            [[Some(format!(
                "columns {} {wanted}",
                if in_memory { "in" } else { "on" }
            ))]]
        );
        // From the first statement on.
        assert!(found(&mut wire, "SELECT sum(score) FROM t")? > 0, "{level}");
        check_all(&mut wire, &want, level)?;
        wire.simple("UNCACHE TABLE t")?;
        wait_until(level, || {
            Ok(server.metric(CACHED_BYTES)? + server.metric(DISK_BYTES)? == 0)
        })?;
        check_all(&mut wire, &want, level)?;
        wire.simple("CLEAR CACHE")?;
    }
    assert!(memory[1] < memory[0], "compressed is smaller: {memory:?}");
    Ok(())
}

#[test]
fn what_does_not_fit_into_memory_is_on_disk_or_read_again() -> Result {
    let folder = tempfile::tempdir()?;
    tables(folder.path())?;
    let want = expected(folder.path())?;
    for level in LEVELS {
        let server = server("12", "4", 0, "64MiB")?;
        let mut wire = server.connect()?;
        create(&mut wire, folder.path())?;
        wire.simple(&format!(
            "CACHE TABLE t OPTIONS ('storageLevel' = '{level}')"
        ))?;
        for round in 0..3 {
            check_all(&mut wire, &want, &format!("{level} {round}"))?;
        }
        let on_disk = server.metric(DISK_BYTES)?;
        assert_eq!(on_disk > 0, level.contains("DISK"), "{level}: {on_disk}");
        assert!(server.metric(CACHED_BYTES)? < 8 << 20, "{level}");
        if level.contains("DISK") {
            assert!(
                server.metric("firesteel_cache_disk_hits_total")? > 0,
                "{level}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_table_is_cached_whole_however_little_scans_may_hold() -> Result {
    let folder = tempfile::tempdir()?;
    tables(folder.path())?;
    let mut cached = Vec::new();
    for protected in ["25", "5"] {
        let server = server("75", protected, 0, "64MiB")?;
        let mut wire = server.connect()?;
        create(&mut wire, folder.path())?;
        wire.simple("CACHE TABLE t")?;
        let sql = "SELECT sum(memory_chunks), sum(memory_bytes) FROM firesteel.blocks";
        cached.push(rows(&mut wire, sql)?);
    }
    assert_eq!(cached[0], cached[1]);
    Ok(())
}

#[test]
fn executors_of_their_own_keep_cached_tables_and_forget_them() -> Result {
    let folder = tempfile::tempdir()?;
    tables(folder.path())?;
    let want = expected(folder.path())?;
    let server = server("75", "10", 2, "512MiB")?;
    let mut wire = server.connect()?;
    create(&mut wire, folder.path())?;
    wire.simple("SET firesteel.force_exchange = on; SET firesteel.partitions = 4")?;
    wire.simple("CACHE TABLE t")?;
    let sum = "SELECT sum(score), max(note) FROM t";
    let whole = found(&mut wire, sum)?;
    assert!(whole > 1 << 20, "{whole}");
    check_all(&mut wire, &want, "cluster")?;
    wire.simple("UNCACHE TABLE t")?;
    let before = found(&mut wire, sum)?;
    assert!(before < whole, "{before} of {whole} bytes were kept");
    check_all(&mut wire, &want, "cluster")?;
    Ok(())
}

#[test]
fn what_a_lost_executor_had_is_loaded_elsewhere_before_anybody_asks() -> Result {
    let folder = tempfile::tempdir()?;
    tables(folder.path())?;
    let mut server = server("75", "10", 3, "512MiB")?;
    let mut wire = server.connect()?;
    create(&mut wire, folder.path())?;
    wire.simple("SET firesteel.force_exchange = on; SET firesteel.partitions = 6")?;
    // No sum of floats, which depends on the order of its parts.
    let sum = "SELECT sum(amount), sum(id % 7), max(note || id) FROM t";
    let answer = rows(&mut wire, sum)?;
    // Not the columns of the statement alone.
    wire.simple("CACHE TABLE t")?;
    let whole = found(&mut wire, sum)?;
    assert!(whole > 1 << 20, "{whole}");
    let keepers =
        "SELECT count(DISTINCT executor_id) FROM firesteel.blocks WHERE memory_chunks > 0";
    wait_until("heartbeats told", || {
        Ok(rows(&mut server.connect()?, keepers)? == [[Some("3".to_owned())]])
    })?;
    let loaded = server.log().matches(LOADED).count();
    server.executors()[0].kill9()?;
    assert_eq!(rows(&mut wire, sum)?, answer);
    wait_until("loaded elsewhere", || {
        Ok(server.log().matches(LOADED).count() > loaded)
    })?;
    // All of it is somewhere, and a statement that is cut as this one has it again after one more look.
    let most = "SELECT count(*) FROM (SELECT path, max(memory_chunks) AS chunks FROM firesteel.blocks \
         GROUP BY path) b WHERE chunks >= 24";
    wait_until("every column of every file", || {
        Ok(rows(&mut server.connect()?, most)? == [[Some("3".to_owned())]])
    })?;
    assert_eq!(rows(&mut wire, sum)?, answer);
    assert_eq!(found(&mut wire, sum)?, whole);
    Ok(())
}

#[test]
fn what_a_lost_executor_had_is_loaded_before_a_long_statement_goes_on() -> Result {
    let folder = tempfile::tempdir()?;
    tables(folder.path())?;
    let mut server = server("75", "10", 2, "512MiB")?;
    let mut wire = server.connect()?;
    create(&mut wire, folder.path())?;
    wire.simple("CACHE TABLE t")?;
    let many = folder.path().join("many");
    write(&many.join("0.parquet"), 0, 0, false)?;
    for file in 1..LONG_TASKS {
        std::fs::copy(many.join("0.parquet"), many.join(format!("{file}.parquet")))?;
    }
    wire.simple(&format!(
        "CREATE EXTERNAL TABLE many STORED AS PARQUET LOCATION '{}/'",
        many.display()
    ))?;
    // Each task takes a while, all of them longer than anybody waits.
    let long = server.connect()?;
    let key = long.key;
    let running = std::thread::spawn(move || {
        let mut wire = long;
        wire.simple(&format!(
            "SET firesteel.force_exchange = on; SET firesteel.partitions = {LONG_TASKS}"
        ))?;
        wire.simple("SELECT max(md5(repeat(note, 300))) FROM many")
            .map(drop)
    });
    wait_until("slots are held", || {
        Ok(server.metric("firesteel_cluster_slots_free")? == 0)
    })?;
    let loaded = server.log().matches(LOADED).count();
    server.executors()[0].kill9()?;
    wait_until("loaded elsewhere", || {
        Ok(server.log().matches(LOADED).count() > loaded)
    })?;
    assert!(!running.is_finished(), "the statement was to take longer");
    Wire::cancel_request(server.port(), key)?;
    let ended = running.join().map_err(|_| "the running thread panicked")?;
    let error = ended.err().ok_or("it was not cancelled")?;
    assert_eq!(error.sqlstate(), Some("57014"), "{error}");
    Ok(())
}

#[test]
fn two_copies_are_made_and_either_of_them_is_enough() -> Result {
    let folder = tempfile::tempdir()?;
    tables(folder.path())?;
    let mut server = server("75", "10", 3, "512MiB")?;
    let mut wire = server.connect()?;
    create(&mut wire, folder.path())?;
    let sum = "SELECT sum(amount), sum(id % 7), max(note || id) FROM t";
    let answer = rows(&mut wire, sum)?;
    wire.simple("CACHE TABLE t OPTIONS (storage_level MEMORY_ONLY_2)")?;
    let whole = found(&mut wire, sum)?;
    assert!(whole > 1 << 20, "{whole}");
    // Each file is at two executors, which have the same of it. (At more, if one that came became its home.)
    let copies = "SELECT count(DISTINCT executor_id) >= 2, min(memory_chunks) = max(memory_chunks), \
         min(memory_bytes) = max(memory_bytes), min(storage_level) \
         FROM firesteel.blocks WHERE memory_chunks > 20 GROUP BY path";
    let copied = ["t", "t", "t", "MEMORY_ONLY_2"].map(|text| Some(text.to_owned()));
    let twice = |server: &Server| -> Result<bool> {
        Ok(rows(&mut server.connect()?, copies)? == vec![copied.to_vec(); 3])
    };
    wait_until("two copies", || twice(&server))?;
    // Whichever goes: what it had is found in the other one at once, and is copied again.
    for _ in 0..2 {
        let home = rows(
            &mut wire,
            "SELECT address FROM firesteel.executors JOIN firesteel.blocks USING (executor_id) \
             WHERE memory_chunks > 20 ORDER BY executor_id LIMIT 1",
        )?;
        let address = home[0][0].clone().ok_or("an executor without an address")?;
        let home = server.executors().iter().position(|executor| {
            let port = executor.blocks_port();
            port.is_some_and(|port| address.ends_with(&format!(":{port}")))
        });
        let home = home.ok_or("an executor that was not started")?;
        let loaded = server.log().matches(LOADED).count();
        server.executors()[home].kill9()?;
        assert_eq!(rows(&mut wire, sum)?, answer);
        assert_eq!(found(&mut wire, sum)?, whole);
        wait_until("loaded elsewhere", || {
            Ok(server.log().matches(LOADED).count() > loaded)
        })?;
        let loaded = server.log().matches(LOADED).count();
        server.executors()[home].start_again()?;
        wait_until("loaded where it is at home now", || {
            Ok(server.log().matches(LOADED).count() > loaded)
        })?;
        wait_until("two copies again", || twice(&server))?;
    }
    wire.simple("UNCACHE TABLE t")?;
    let none = [[Some("0".to_owned())]];
    wait_until("no copies", || {
        Ok(rows(
            &mut server.connect()?,
            "SELECT count(*) FROM firesteel.blocks",
        )? == none)
    })?;
    Ok(())
}

/// It is not certain yet that the next change of its file will be noticed, so that is waited for.
#[test]
fn a_table_that_was_just_written_is_cached() -> Result {
    let folder = tempfile::tempdir()?;
    let server = server("75", "10", 0, "512MiB")?;
    let mut wire = server.connect()?;
    write(&folder.path().join("u/1.parquet"), 1000, 0, false)?;
    wire.simple(&format!(
        "CREATE EXTERNAL TABLE u STORED AS PARQUET LOCATION '{}'",
        folder.path().join("u").display()
    ))?;
    wire.simple("CACHE TABLE u")?;
    assert!(server.metric(CACHED_BYTES)? > 0);
    Ok(())
}

#[test]
fn a_cached_table_follows_its_files() -> Result {
    let folder = tempfile::tempdir()?;
    let file = |name: &str| folder.path().join("u").join(name);
    write(&file("1.parquet"), 1_000_000, 0, false)?;
    settle();
    let server = server("75", "10", 0, "512MiB")?;
    let mut wire = server.connect()?;
    let sum = "SELECT sum(amount), count(amount), count(*) FROM u";
    wire.simple(&format!(
        "CREATE EXTERNAL TABLE u STORED AS PARQUET LOCATION '{}'",
        folder.path().join("u").display()
    ))?;
    for level in ["MEMORY_ONLY", "DISK_ONLY", "MEMORY_AND_DISK_SER"] {
        wire.simple(&format!("CACHE TABLE u OPTIONS (storage_level {level})"))?;
        let time = std::fs::metadata(file("1.parquet"))?.modified()?;
        for add in 1..4 {
            // The same inode, time, and often size.
            let other = folder.path().join("other");
            write(&other, 1_000_000, add, false)?;
            std::fs::write(file("1.parquet"), std::fs::read(&other)?)?;
            std::fs::File::options()
                .write(true)
                .open(file("1.parquet"))?
                .set_modified(time)?;
            assert_eq!(
                rows(&mut wire, sum)?,
                sum_of(&[(1_000_000, add)]),
                "{level}"
            );
        }
        settle();
        let kept = |server: &Server| -> Result<u64> {
            Ok(server.metric(CACHED_BYTES)? + server.metric(DISK_BYTES)?)
        };
        for _ in 0..3 {
            assert_eq!(rows(&mut wire, sum)?, sum_of(&[(1_000_000, 3)]), "{level}");
        }
        assert!(found(&mut wire, sum)? > 0, "{level}");
        let one = kept(&server)?;
        // An append keeps what there was.
        write(&file("2.parquet"), 2_000_000, 0, false)?;
        let both = sum_of(&[(1_000_000, 3), (2_000_000, 0)]);
        assert_eq!(rows(&mut wire, sum)?, both, "{level}");
        assert!(kept(&server)? >= one, "{level}");
        assert!(found(&mut wire, sum)? > 0, "{level}");
        std::fs::remove_file(file("2.parquet"))?;
        assert_eq!(rows(&mut wire, sum)?, sum_of(&[(1_000_000, 3)]), "{level}");
        wire.simple("REFRESH TABLE u")?;
        wait_until("refreshed", || Ok(kept(&server)? == 0))?;
        assert_eq!(rows(&mut wire, sum)?, sum_of(&[(1_000_000, 3)]), "{level}");
        wire.simple("CLEAR CACHE")?;
        // As the next round expects it.
        write(&file("1.parquet"), 1_000_000, 0, false)?;
        settle();
    }
    Ok(())
}

fn declare(wire: &mut Wire, folder: &Path) -> Result {
    create(wire, folder)?;
    std::fs::write(folder.join("c.csv"), "a,b\n1,2\n3,4\n")?;
    wire.simple(&format!(
        "CREATE EXTERNAL TABLE c (a int, b int) STORED AS CSV LOCATION '{}/c.csv'; \
         CREATE VIEW v AS SELECT * FROM t",
        folder.display()
    ))?;
    Ok(())
}

#[test]
fn cache_statements_are_part_of_the_catalog_and_of_transactions() -> Result {
    let folder = tempfile::tempdir()?;
    write(&folder.path().join("t/part=a/1.parquet"), 0, 0, false)?;
    settle();
    let mut server = server("75", "10", 0, "512MiB")?;
    let mut wire = server.connect()?;
    declare(&mut wire, folder.path())?;
    let sum = "SELECT sum(score) FROM t";
    // Lazily: with the first statement that reads it.
    wire.simple("CACHE LAZY TABLE t")?;
    assert_eq!(server.metric(CACHED_BYTES)?, 0);
    rows(&mut wire, sum)?;
    assert!(found(&mut wire, sum)? > 0);
    wire.simple("CLEAR CACHE")?;

    // Nothing is left of what was rolled back. (Nobody has wanted this column before.)
    wire.simple("BEGIN; CACHE LAZY TABLE t; ROLLBACK")?;
    let other = "SELECT sum(id % 7) FROM t";
    rows(&mut wire, other)?;
    assert_eq!(found(&mut wire, other)?, 0);
    wire.simple("CLEAR CACHE; BEGIN; CACHE TABLE t; COMMIT")?;
    assert!(found(&mut wire, "SELECT sum(amount) FROM t")? > 0);

    // It outlives the server, whose executors read it again, asked or not.
    server.restart()?;
    wait_until(
        "loaded again",
        || Ok(server.metric(CACHED_BYTES)? > 1 << 20),
    )?;
    let mut wire = server.connect()?;
    assert!(found(&mut wire, sum)? > 0);
    wire.simple("CACHE LAZY TABLE t")?;
    server.restart()?;
    let mut wire = server.connect()?;
    assert_eq!(found(&mut wire, sum)?, 0);
    assert!(found(&mut wire, sum)? > 0);
    wire.simple("DROP TABLE t CASCADE")?;
    wait_until("dropped", || Ok(server.metric(CACHED_BYTES)? == 0))?;
    Ok(())
}

#[test]
fn results_of_queries_are_cached_under_a_name_of_the_session() -> Result {
    let folder = tempfile::tempdir()?;
    write(&folder.path().join("t/part=a/1.parquet"), 0, 0, false)?;
    let server = server("75", "10", 0, "512MiB")?;
    let mut wire = server.connect()?;
    declare(&mut wire, folder.path())?;
    wire.simple("CACHE TABLE hot AS SELECT id, note, amount FROM t WHERE id % 2 = 0")?;
    let sql = "SELECT count(*), sum(id), max(note) FROM hot";
    let want = rows(
        &mut wire,
        "SELECT count(*), sum(id), max(note) FROM t WHERE id % 2 = 0",
    )?;
    assert_eq!(rows(&mut wire, sql)?, want);
    assert!(found(&mut wire, "SELECT sum(id), max(note || id) FROM hot")? > 0);
    assert_eq!(want[0][0].as_deref(), Some(&*(FILE_ROWS / 2).to_string()));
    // Whatever is a table of another kind can be cached that way.
    wire.simple("CACHE LAZY TABLE csv OPTIONS (storage_level MEMORY_ONLY) SELECT * FROM c")?;
    assert_eq!(
        rows(&mut wire, "SELECT sum(a), sum(b) FROM csv")?,
        [[Some("4".to_owned()), Some("6".to_owned())]]
    );
    wire.simple("UNCACHE TABLE hot; INSERT INTO hot VALUES (-1, 'x', 1)")?;
    assert_eq!(
        rows(&mut wire, "SELECT min(id) FROM hot")?,
        [[Some("-1".to_owned())]]
    );
    drop(wire);
    wait_until("the session is gone", || {
        Ok(server.metric(CACHED_BYTES)? == 0)
    })?;
    Ok(())
}

#[test]
fn what_cannot_be_cached_is_refused() -> Result {
    let folder = tempfile::tempdir()?;
    write(&folder.path().join("t/part=a/1.parquet"), 0, 0, false)?;
    let server = server("75", "10", 0, "512MiB")?;
    let mut wire = server.connect()?;
    declare(&mut wire, folder.path())?;
    for (sql, state) in [
        ("CACHE TABLE v", "0A000"),
        ("CACHE TABLE c", "0A000"),
        ("CACHE TABLE pg_class", "42P01"),
        ("CACHE TABLE nope", "42P01"),
        ("UNCACHE TABLE nope", "42P01"),
        ("REFRESH TABLE nope", "42P01"),
        ("REFRESH MATERIALIZED VIEW v", "0A000"),
        ("CACHE TABLE t OPTIONS (storage_level HOT)", "22023"),
        ("CACHE TABLE t OPTIONS (level MEMORY_ONLY)", "42601"),
        ("CACHE TABLE t OPTIONS ()", "42601"),
        ("CACHE TABLE s.x AS SELECT 1", "42601"),
        ("CACHE TABLE", "42601"),
        ("CLEAR", "42601"),
        ("BEGIN READ ONLY; CACHE TABLE t", "25006"),
    ] {
        assert_eq!(sqlstate(&mut wire, sql).as_deref(), Some(state), "{sql}");
        wire.simple("ROLLBACK")?;
    }
    wire.simple("UNCACHE TABLE IF EXISTS nope")?;
    wire.simple("UNCACHE TABLE t; UNCACHE TABLE c; REFRESH TABLE v; REFRESH t; CLEAR CACHE")?;
    Ok(())
}
