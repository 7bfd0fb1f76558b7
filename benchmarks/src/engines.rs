//! What TPC-H's queries are put to: our server over the wire here, other engines in [`crate::peers`].

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_postgres::SimpleQueryMessage;

use crate::Result;
use crate::answers::Rows;
use crate::server_process::{ServerOptions, ServerProcess};
use crate::session::{self, Session};

/// Connecting and declaring eight tables over some dozens of files.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// An answer and how long it took until its last row was here.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) seconds: f64,
    pub(crate) rows: Rows,
}

/// One engine with the tables of TPC-H, which answers one query at a time. A query that takes
/// too long or ends the engine is an error; the next one is answered again.
pub(crate) trait Engine {
    /// One word, as in the report.
    fn name(&self) -> &'static str;

    fn version(&self) -> &str;

    fn answer(&mut self, sql: &str) -> Result<Answer>;
}

/// Our server in a process of its own, and one session.
#[derive(Debug)]
pub(crate) struct Firesteel {
    runtime: Runtime,
    options: ServerOptions,
    /// `SET` statements of each session.
    settings: Vec<String>,
    data: PathBuf,
    query_timeout: Duration,
    version: String,
    // The session goes before its server. None after a failure, until the next query.
    session: Option<Session>,
    server: ServerProcess,
}

impl Firesteel {
    pub(crate) fn start(
        options: ServerOptions,
        settings: Vec<String>,
        data: PathBuf,
        query_timeout: Duration,
    ) -> Result<Self> {
        let server = ServerProcess::start(&options)?;
        let mut this = Self {
            runtime: crate::runtime()?,
            options,
            settings,
            data,
            query_timeout,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            session: None,
            server,
        };
        this.connect()?;
        Ok(this)
    }

    /// Opens the session, on a new server if the old one is gone.
    fn connect(&mut self) -> Result<()> {
        if self.server.memory().is_err() {
            self.server = ServerProcess::start(&self.options)?;
        }
        let config = session::firesteel(self.server.postgres());
        let opened = async {
            let session = Session::open(&config).await?;
            session.declare_tables(&self.data).await?;
            for setting in &self.settings {
                session.execute(setting).await?;
            }
            Ok::<_, crate::Error>(session)
        };
        // The timer needs the runtime around it from the start.
        let opened = async { timeout(CONNECT_TIMEOUT, opened).await };
        self.session = Some(self.runtime.block_on(opened)??);
        Ok(())
    }
}

impl Engine for Firesteel {
    fn name(&self) -> &'static str {
        "firesteel"
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn answer(&mut self, sql: &str) -> Result<Answer> {
        if self.session.is_none() {
            self.connect()?;
        }
        let session = self.session.as_ref().ok_or("no session")?;
        let start = Instant::now();
        let outcome = self.runtime.block_on(async {
            timeout(self.query_timeout, session.client.simple_query(sql)).await
        });
        let seconds = start.elapsed().as_secs_f64();
        match outcome {
            Ok(Ok(messages)) => Ok(Answer {
                seconds,
                rows: rows_of(&messages),
            }),
            Ok(Err(error)) => {
                let text = session::describe(&error);
                if error.as_db_error().is_some() {
                    return Err(text.into());
                }
                // The connection broke: say what the server said last.
                self.session = None;
                Err(format!("{text}{}", self.server.log_tail()).into())
            }
            Err(_) => {
                self.session = None;
                Err(format!("no answer in {} s", self.query_timeout.as_secs()).into())
            }
        }
    }
}

fn rows_of(messages: &[SimpleQueryMessage]) -> Rows {
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|column| row.get(column).map(str::to_owned))
                    .collect(),
            ),
            // Names of columns and numbers of rows; the enum is open.
            _ => None,
        })
        .collect()
}
