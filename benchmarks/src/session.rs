//! A connection through tokio-postgres, to ours or to PostgreSQL. Dropping it closes the socket at
//! once, even in the middle of an answer: that is how a query that takes too long is given up.

use std::net::SocketAddr;
use std::path::Path;

use server::demo::tpch::TABLES;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls};

use crate::Result;

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    connection: JoinHandle<()>,
}

impl Session {
    pub(crate) async fn open(config: &Config) -> Result<Self> {
        let (client, connection) = config
            .connect(NoTls)
            .await
            .map_err(|error| describe(&error))?;
        let connection = tokio::spawn(async move {
            // An error also ends the query that waits, which reports it.
            drop(connection.await);
        });
        Ok(Self { client, connection })
    }

    /// Runs statements that return nothing.
    pub(crate) async fn execute(&self, sql: &str) -> Result<()> {
        self.client
            .batch_execute(sql)
            .await
            .map_err(|error| format!("{sql}: {}", describe(&error)).into())
    }

    /// Declares the eight tables of TPC-H over the Parquet files below `data`.
    pub(crate) async fn declare_tables(&self, data: &Path) -> Result<()> {
        for table in TABLES {
            self.execute(&declaration(table, data)).await?;
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// How to connect to a server of ours.
pub(crate) fn firesteel(address: SocketAddr) -> Config {
    let mut config = Config::new();
    config
        .host(address.ip().to_string())
        .port(address.port())
        .user("firesteel")
        .dbname("firesteel")
        .application_name("benchmarks");
    config
}

/// The statement that makes a table of the files in `data/TABLE`.
pub(crate) fn declaration(table: &str, data: &Path) -> String {
    let location = data.join(table).display().to_string().replace('\'', "''");
    format!("CREATE OR REPLACE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{location}'")
}

/// The server's own message where there is one: the driver's says only "db error".
pub(crate) fn describe(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(
        || error.to_string(),
        |database| format!("{} ({})", database.message(), database.code().code()),
    )
}
