//! A PostgreSQL of the machine's, started in a directory of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::Answer;

pub(crate) const BIN: &str = "/usr/lib/postgresql/15/bin";

pub(crate) struct Server {
    client: Client,
    data: PathBuf,
}

/// PostgreSQL refuses to run as root.
fn as_postgres(command: &str) -> bool {
    Command::new("su")
        .args(["postgres", "-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

impl Server {
    /// `None` where there is no PostgreSQL to start.
    pub(crate) async fn start() -> Option<Self> {
        if !Path::new(BIN).join("initdb").exists() {
            return None;
        }
        let data = PathBuf::from(format!("/tmp/functions-test-{}", std::process::id()));
        let shown = data.display();
        let made = as_postgres(&format!(
            "{BIN}/initdb -D {shown} --no-sync --locale=C --encoding=UTF8 -A trust -U postgres"
        ));
        let started = made
            && as_postgres(&format!(
                "{BIN}/pg_ctl -D {shown} -w -l {shown}/log -o \"-c listen_addresses='' -k {shown} -F -c timezone=UTC\" start"
            ));
        if !started {
            return None;
        }
        let (client, connection) = tokio_postgres::connect(
            &format!("host={shown} user=postgres dbname=postgres"),
            NoTls,
        )
        .await
        .unwrap();
        tokio::spawn(connection);
        Some(Self { client, data })
    }

    pub(crate) async fn answer(&self, sql: &str) -> Answer {
        let types = match self.client.prepare(sql).await {
            Ok(statement) => statement
                .columns()
                .iter()
                .map(|column| column.type_().oid())
                .collect(),
            Err(error) => return failure(&error),
        };
        match self.client.simple_query(sql).await {
            Ok(messages) => Answer::Rows {
                rows: messages
                    .iter()
                    .filter_map(|message| match message {
                        SimpleQueryMessage::Row(row) => Some(
                            (0..row.len())
                                .map(|column| row.get(column).map(str::to_owned))
                                .collect(),
                        ),
                        _ => None,
                    })
                    .collect(),
                types,
            },
            Err(error) => failure(&error),
        }
    }

    pub(crate) async fn stop(self) {
        let shown = self.data.display().to_string();
        drop(self.client);
        as_postgres(&format!("{BIN}/pg_ctl -D {shown} -m immediate stop"));
        as_postgres(&format!("rm -rf {shown}"));
    }
}

fn failure(error: &tokio_postgres::Error) -> Answer {
    Answer::Error {
        sqlstate: error
            .code()
            .map_or_else(|| "?????".to_owned(), |code| code.code().to_owned()),
        message: error
            .as_db_error()
            .map_or_else(|| error.to_string(), |error| error.message().to_owned()),
    }
}
