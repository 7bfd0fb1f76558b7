//! COPY over the wire, byte for byte against PostgreSQL: out, in, and what is refused.

use std::error::Error;

use sql_tests::postgres::TemporaryPostgres;
use sql_tests::server::Server;
use sql_tests::wire::{Wire, WireError};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// The same session on both servers.
struct Both {
    ours: Wire,
    theirs: Wire,
    mismatches: Vec<String>,
    _server: Server,
    _postgres: TemporaryPostgres,
}

impl Both {
    /// `None`, and said, where there is no PostgreSQL.
    fn start(setup: &str) -> Result<Option<Self>> {
        let Some(postgres) = TemporaryPostgres::start()? else {
            return Ok(None);
        };
        let server = Server::start()?;
        let mut both = Self {
            ours: server.connect()?,
            theirs: Wire::connect(postgres.port(), "postgres", "postgres")?,
            mismatches: Vec::new(),
            _server: server,
            _postgres: postgres,
        };
        both.run("SET TimeZone = 'UTC'")?;
        both.run(setup)?;
        Ok(Some(both))
    }

    fn end(self) {
        assert!(
            self.mismatches.is_empty(),
            "{}",
            self.mismatches.join("\n\n")
        );
    }

    fn run(&mut self, sql: &str) -> Result {
        self.theirs.simple(sql)?;
        self.ours.simple(sql)?;
        Ok(())
    }

    /// Rows come out the same, message by message. Answers them.
    fn out(&mut self, sql: &str) -> Result<Vec<Vec<u8>>> {
        let theirs = self.theirs.copy_out(sql)?;
        let ours = self.ours.copy_out(sql)?;
        assert_eq!(shown(&ours.0), shown(&theirs.0), "{sql}");
        assert_eq!(ours, theirs, "{sql}");
        Ok(theirs.0)
    }

    /// Both take the data and the table is the same then, or both refuse it with the same words.
    fn takes(&mut self, table: &str, columns: &str, options: &str, data: &[u8]) -> Result {
        let sql = format!("COPY {table} {columns} FROM STDIN {options}");
        let theirs = outcome(self.theirs.copy_in(&sql, &[data]))?;
        let ours = outcome(self.ours.copy_in(&sql, &[data]))?;
        let what = format!("{sql}\n{}", String::from_utf8_lossy(data));
        if ours != theirs {
            self.mismatches
                .push(format!("{what}\n    ours: {ours}\npostgres: {theirs}"));
            return Ok(());
        }
        let all = format!("COPY (SELECT * FROM {table} ORDER BY 1, 2) TO STDOUT");
        self.out(&all)?;
        Ok(())
    }
}

fn shown(messages: &[Vec<u8>]) -> String {
    let shown = messages
        .iter()
        .map(|message| message.escape_ascii().to_string());
    shown.collect::<Vec<_>>().join("\n")
}

/// The tag, or what an error says: SQLSTATE, message, hint, context.
fn outcome(result: std::result::Result<String, WireError>) -> Result<String> {
    match result {
        Ok(tag) => Ok(tag),
        Err(WireError::Server(error)) => Ok(format!(
            "{} {}\nHINT: {}\nCONTEXT: {}",
            error.sqlstate,
            error.message,
            error.hint.unwrap_or_default(),
            error.context.unwrap_or_default()
        )),
        Err(WireError::Connection(error)) => Err(error.into()),
    }
}

/// What has a meaning to one of the formats, and what only looks so.
const TEXTS: &str = "
    CREATE TEMP TABLE c (n int, t text, f float8);
    INSERT INTO c VALUES
        (1, 'plain', NULL), (2, '', 1.5), (3, NULL, 1e19), (4, '\\N', -0.0), (5, '\\.', NULL),
        (6, E'a\\tb\\nc\\rd\\\\e\\b\\x0b\\f', 0), (7, 'comma, semi; quote\" apostrophe'' pipe|', 1e-7),
        (8, ' lead and trail ', NULL), (9, '\"quoted\"', NULL), (10, 'é漢😀', NULL),
        (11, 'NULL', NULL), (12, 'null', NULL)";

const OPTIONS: &[&str] = &[
    "",
    "DELIMITER '|' NULL 'null'",
    "(DELIMITER '|', NULL 'null')",
    "(HEADER)",
    "(HEADER, FORMAT csv)",
    "CSV HEADER",
    "(FORMAT csv, HEADER true, FORCE_QUOTE *)",
    "CSV HEADER FORCE QUOTE t, n",
    "(FORMAT csv, DELIMITER ';', QUOTE '''', ESCAPE '\\', NULL 'NULL')",
    "CSV DELIMITER AS ';' QUOTE AS '''' ESCAPE AS '\\' NULL AS 'NULL'",
    "(FORMAT csv, FORCE_QUOTE (t), ENCODING 'utf-8')",
    "WITH (FORMAT binary)",
    "WITH BINARY",
];

#[test]
fn rows_come_out_as_from_postgres() -> Result {
    let Some(mut both) = Both::start(TEXTS)? else {
        return Ok(());
    };
    for options in OPTIONS {
        for source in [
            "(SELECT * FROM c ORDER BY n)",
            "(SELECT t FROM c ORDER BY n)",
            "(SELECT n AS \"N, x\", f AS \"a\"\"b\" FROM c WHERE n < 3 ORDER BY n)",
            "(SELECT n FROM c WHERE n < 0)",
            "(VALUES (1, 'x'), (2, NULL))",
        ] {
            // Only the first has all the columns that some options name.
            let names_columns = options.contains("QUOTE t") || options.contains("QUOTE (t)");
            if names_columns && !source.contains("* FROM c") {
                continue;
            }
            both.out(&format!("COPY {source} TO STDOUT {options}"))?;
        }
    }
    // To PostgreSQL the direction counts, not which of the two words follows it.
    both.out("COPY (SELECT 1) TO STDIN")?;
    both.run("CREATE TEMP TABLE one (a int, \"B c\" text); INSERT INTO one VALUES (1, 'x')")?;
    for sql in [
        "COPY one TO STDOUT",
        "COPY one (\"B c\", a) TO STDOUT CSV HEADER",
        "COPY pg_temp.one (a) TO STDOUT BINARY",
        "COPY BINARY one TO STDOUT",
        "COPY (SELECT oid, relname FROM pg_class WHERE relname = 'pg_class') TO STDOUT",
        "COPY (SELECT 'pg_class'::regclass) TO STDOUT",
    ] {
        both.out(sql)?;
    }
    Ok(())
}

/// A column of each type that tables have: its values as literals.
const TYPES: &[(&str, &[&str])] = &[
    ("bool", &["true", "false"]),
    ("int2", &["-32768", "32767"]),
    ("int4", &["-2147483648", "2147483647"]),
    ("int8", &["-9223372036854775808", "9223372036854775807"]),
    (
        "float4",
        &["1.5", "-0", "'NaN'", "'Infinity'", "'3.4028235e38'"],
    ),
    ("float8", &["0.1", "-0", "'NaN'", "'-Infinity'", "1e-300"]),
    ("numeric(12,3)", &["0", "-123456789.125", "999999999.999"]),
    ("text", &["'plain'", "''", "E'tab\\tline\\n'", "'é漢😀'"]),
    ("varchar(5)", &["'abc'", "'  x  '"]),
    ("char(5)", &["'abc'", "''"]),
    ("name", &["'a name'"]),
    ("bytea", &["'\\x00ff5c'", "''"]),
    ("uuid", &["'00112233-4455-6677-8899-aabbccddeeff'"]),
    ("date", &["'2024-02-29'", "'0001-01-01 BC'", "'infinity'"]),
    ("time", &["'12:34:56.789'", "'24:00:00'"]),
    (
        "timestamp",
        &["'1999-12-31 23:59:59.999999'", "'-infinity'"],
    ),
    ("timestamptz", &["'2024-02-29 12:00:00+02'"]),
    ("json", &["'{\"a\": [1, \"x\"]}'"]),
    ("jsonb", &["'{\"b\": 1, \"a\": null}'"]),
    ("oid", &["4294967295"]),
    ("int4[]", &["'{1,NULL,3}'", "'{}'"]),
    ("text[]", &["'{a,\"b c\",NULL,\"\"}'"]),
];

#[test]
fn every_type_goes_out_and_in() -> Result {
    let Some(mut both) = Both::start("")? else {
        return Ok(());
    };
    for (pg_type, values) in TYPES {
        let rows: Vec<String> = values
            .iter()
            .chain(&["NULL"])
            .enumerate()
            .map(|(n, value)| format!("({n}, {value})"))
            .collect();
        both.run(&format!(
            "CREATE TEMP TABLE source (n int, v {pg_type}); \
             CREATE TEMP TABLE target (n int, v {pg_type}); \
             INSERT INTO source VALUES {}",
            rows.join(", ")
        ))?;
        for format in ["text", "csv", "binary"] {
            let messages = both.out(&format!(
                "COPY (SELECT * FROM source ORDER BY n) TO STDOUT (FORMAT {format})"
            ))?;
            let sql = format!("COPY target FROM STDIN (FORMAT {format})");
            let pieces: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            let theirs = both.theirs.copy_in(&sql, &pieces);
            let ours = both.ours.copy_in(&sql, &pieces);
            assert_eq!(outcome(ours)?, outcome(theirs)?, "{pg_type}: {sql}");
        }
        both.out("COPY (SELECT * FROM target ORDER BY n) TO STDOUT")?;
        both.run("DROP TABLE source; DROP TABLE target")?;
    }
    Ok(())
}

#[test]
fn data_is_taken_or_refused_as_by_postgres() -> Result {
    let setup = "CREATE TEMP TABLE t (a int NOT NULL, b text, c numeric(5,2), d varchar(3))";
    let Some(mut both) = Both::start(setup)? else {
        return Ok(());
    };
    let long = format!("{}\tx\n", "9".repeat(150));
    let cases: &[(&str, &str, &[u8])] = &[
        ("(a, b)", "", b"1\tone\n2\t\\N\n3\t\n"),
        ("(a, b)", "", b"1\tone\r\n2\ttwo\r\n"),
        ("(a, b)", "", b"1\tno newline"),
        ("(a, b)", "", b""),
        ("(a, b)", "", b"1\ta\\tb\\nc\\\\d\\x41\\101\\q\\\n"),
        ("(a, b)", "", b"1\tx\n\\.\n2\tignored\n"),
        ("(a, b)", "", b"1\tx\n2\ty\\.\n3\tz\n"),
        ("(a, b)", "", b"1\tx\n2\ty\\.z\n"),
        ("(a, b)", "", b"1\tx\n2\ty\r\n"),
        ("(a, b)", "", b"1\tx\r\n2\ty\n"),
        ("(a, b)", "", b"1\n"),
        ("(a, b)", "", b"\n"),
        ("(a, b)", "", b"1\tx\t2\n"),
        ("(a, b)", "", b"1\tx\nzwei\ty\n"),
        ("(a, b)", "", b"\\N\tx\n"),
        ("(a, b)", "", b"\tx\n"),
        ("(a, b)", "", long.as_bytes()),
        ("(b, a)", "", b"x\t1\n"),
        ("", "", b"1\tx\t2.345\tabc\n"),
        ("", "", b"1\tx\t1000\tabc\n"),
        ("", "", b"1\tx\t2\tabcd\n"),
        ("", "", b"1\tx\t2\tabc  \n"),
        (
            "(a, b)",
            "DELIMITER '|' NULL 'nil'",
            b"1|nil\n2|ni\\l\n3|\\nil\n",
        ),
        ("(a, b)", "(HEADER)", b"whatever\n1\tx\n"),
        ("(a, b)", "(HEADER match)", b"a\tb\n1\tx\n"),
        ("(a, b)", "CSV", b"1,\"a,\"\"b\"\"\nc\"\n2,\n3,\"\"\n"),
        ("(a, b)", "CSV", b"1,x\"y, \"z\n"),
        ("(a, b)", "CSV", b"1,x\n\\.\n2,ignored\n"),
        ("(a, b)", "CSV", b"1,\\.\n"),
        ("(a, b)", "CSV", b"1,x\n2,y\r\n"),
        ("(a, b)", "CSV", b",x\n"),
        ("(a, b)", "CSV HEADER", b"b,a\n1,x\n"),
        // Lines within quotes: those of the first record are not counted.
        ("(a, b)", "CSV", b"1,\"two\nlines\"\nbad,x\n"),
        ("(b, a)", "CSV", b"\"two\nlines\",bad\n"),
        ("(b, a)", "CSV", b"\"two\r\nlines\",bad\r\n"),
        (
            "(b, a)",
            "CSV HEADER",
            b"\"b\nc\",a\n\"two\nlines\",1\n\"x\ny\",bad\n",
        ),
        (
            "(a, b)",
            "CSV NULL 'nil' FORCE NOT NULL b",
            b"1,nil\n2,\"nil\"\n",
        ),
        (
            "(a, b)",
            "CSV NULL 'nil' FORCE NULL b",
            b"1,nil\n2,\"nil\"\n",
        ),
        (
            "(a, b)",
            "(FORMAT csv, DELIMITER ';', QUOTE '''', ESCAPE '\\')",
            b"1;'a\\'b\\\\c'\n",
        ),
        (
            "(a, b)",
            "BINARY",
            b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x04\0\0\0\x01",
        ),
        (
            "(a, b)",
            "BINARY",
            b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x04\0\0\0\x01\0\0\0\x01x",
        ),
        (
            "(a, b)",
            "BINARY",
            b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x03\0\0\0\0\0\0\x01x\xff\xff",
        ),
        (
            "(a, b)",
            "BINARY",
            b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\xff\xffmore",
        ),
    ];
    for (columns, options, data) in cases {
        both.takes("t", columns, options, data)?;
        both.run(&format!("DROP TABLE t; {setup}"))?;
    }
    // Refused for the same reason, in other words or with another context.
    let refused: &[(&str, &[u8])] = &[
        ("", b"1\t\xc3\x28\n"),
        ("", b"1\t\\xff\n"),
        ("(HEADER match)", b"a\tc\n1\tx\n"),
        ("(HEADER match)", b"a\n1\tx\n"),
        ("(HEADER match)", b"a\t\\N\n1\tx\n"),
        ("CSV", b"1,\"open\n"),
        ("CSV", b"1,x\ry\n"),
        ("BINARY", b"PGCOPX\n\xff\r\n\0"),
    ];
    for (options, data) in refused {
        let sql = format!("COPY t (a, b) FROM STDIN {options}");
        let theirs = outcome(both.theirs.copy_in(&sql, &[data]))?;
        let ours = outcome(both.ours.copy_in(&sql, &[data]))?;
        assert_eq!(ours.get(..5), theirs.get(..5), "{sql}\n{ours}\n{theirs}");
        assert!(!ours.starts_with("COPY"), "{sql}");
    }
    both.end();
    Ok(())
}

#[test]
fn statements_are_refused_as_by_postgres() -> Result {
    let setup = "CREATE TEMP TABLE t (a int, b text)";
    let Some(mut both) = Both::start(setup)? else {
        return Ok(());
    };
    for sql in [
        "COPY t TO STDOUT (FORMAT xml)",
        "COPY t TO STDOUT (FORMAT 'CSV')",
        "COPY t TO STDOUT (FORMAT csv, FORMAT csv)",
        "COPY t TO STDOUT CSV CSV",
        "COPY t TO STDOUT (DELIMITER 'ab')",
        "COPY t TO STDOUT (DELIMITER 'a')",
        "COPY t TO STDOUT (DELIMITER E'\\n')",
        "COPY t TO STDOUT (NULL E'\\n')",
        "COPY t TO STDOUT (NULL E'a\\tb')",
        "COPY t TO STDOUT (QUOTE '''')",
        "COPY t TO STDOUT (FORMAT csv, QUOTE 'ab')",
        "COPY t TO STDOUT (FORMAT csv, QUOTE ',')",
        "COPY t TO STDOUT (FORMAT csv, ESCAPE 'ab')",
        "COPY t TO STDOUT (ESCAPE 'a')",
        "COPY t TO STDOUT (FORMAT csv, NULL '\"')",
        "COPY t TO STDOUT (FORMAT binary, DELIMITER ',')",
        "COPY t TO STDOUT (FORMAT binary, NULL 'x')",
        "COPY t TO STDOUT (FORMAT binary, HEADER)",
        "COPY t TO STDOUT (FORCE_QUOTE (a))",
        "COPY t TO STDOUT (FORMAT csv, FORCE_QUOTE a)",
        "COPY t TO STDOUT (FORMAT csv, FORCE_QUOTE (x))",
        "COPY t (b) TO STDOUT (FORMAT csv, FORCE_QUOTE (a))",
        "COPY t TO STDOUT (FORMAT csv, FORCE_NULL (a))",
        "COPY t TO STDOUT (FORMAT csv, FORCE_NOT_NULL (a))",
        "COPY t FROM STDIN (FORMAT csv, FORCE_QUOTE (a))",
        "COPY t FROM STDIN (FORCE_NULL (a))",
        "COPY t FROM STDIN (FORMAT csv, FORCE_NULL (x))",
        "COPY t (b) FROM STDIN (FORMAT csv, FORCE_NULL (a))",
        "COPY t TO STDOUT (ENCODING 'nonsense')",
        "COPY t TO STDOUT (NONSENSE 1)",
        "COPY t (x) TO STDOUT",
        "COPY t (a, a) TO STDOUT",
        "COPY t (x) FROM STDIN",
        "COPY t (a, a) FROM STDIN",
        "COPY nothing TO STDOUT",
        "COPY nothing FROM STDIN",
        "COPY (SELECT x) TO STDOUT",
        "COPY (SELECT 1) FROM STDIN",
        "COPY t FROM STDOUT",
        "COPY t",
        "COPY t TO STDOUT WITH (",
    ] {
        let refused = |wire: &mut Wire| -> Result<String> {
            match wire.copy_in(sql, &[]) {
                Err(WireError::Server(error)) => Ok(format!(
                    "{} {} at {:?}",
                    error.sqlstate, error.message, error.position
                )),
                Ok(tag) => Ok(tag),
                Err(error) => Err(error.into()),
            }
        };
        let theirs = refused(&mut both.theirs)?;
        let ours = refused(&mut both.ours)?;
        if ours != theirs {
            both.mismatches
                .push(format!("{sql}\n    ours: {ours}\npostgres: {theirs}"));
        }
    }
    both.end();
    Ok(())
}
