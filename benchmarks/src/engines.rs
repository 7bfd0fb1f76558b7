//! What TPC-H's queries are put to: our server over the wire here, other engines in [`crate::peers`].

use std::path::PathBuf;
use std::time::{Duration, Instant};

use server::demo::tpch::TABLES;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_postgres::SimpleQueryMessage;

use crate::Result;
use crate::answers::Rows;
use crate::server_process::{ServerOptions, ServerProcess};
use crate::session::{self, Session};

/// Connecting and declaring eight tables over some dozens of files.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// Reading all of their columns.
pub(crate) const LOAD_TIMEOUT: Duration = Duration::from_secs(1800);

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

    /// Known once it was ready.
    fn version(&self) -> &str;

    /// What is worth telling of what it did before and between the queries.
    fn notes(&self) -> &[String];

    /// Starts it and loads what it keeps, unless that is done.
    fn ready(&mut self) -> Result<()>;

    /// Ends its process, which gives its memory back. The next query starts it again.
    fn stop(&mut self);

    fn answer(&mut self, sql: &str) -> Result<Answer>;
}

/// Our server in a process of its own, and one session.
#[derive(Debug)]
pub(crate) struct Firesteel {
    name: &'static str,
    runtime: Runtime,
    options: ServerOptions,
    /// `SET` statements of each session.
    settings: Vec<String>,
    data: PathBuf,
    /// Whether the tables are told to be cached.
    cached: bool,
    query_timeout: Duration,
    version: String,
    notes: Vec<String>,
    // The session goes before its server. None after a failure, until the next query.
    session: Option<Session>,
    server: Option<ServerProcess>,
}

impl Firesteel {
    pub(crate) fn new(
        name: &'static str,
        options: ServerOptions,
        settings: Vec<String>,
        data: PathBuf,
        query_timeout: Duration,
    ) -> Result<Self> {
        Ok(Self {
            name,
            runtime: crate::runtime()?,
            options,
            settings,
            data,
            cached: false,
            query_timeout,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            notes: Vec::new(),
            session: None,
            server: None,
        })
    }

    /// Has the tables in memory before the first query.
    pub(crate) fn cached(mut self) -> Self {
        self.cached = true;
        // Its metrics say what is in memory.
        self.options.http = true;
        self
    }

    /// Opens the session, on a new server if the old one is gone.
    fn connect(&mut self) -> Result<()> {
        let living = self.server.take().filter(|server| server.memory().is_ok());
        let (server, new) = match living {
            Some(server) => (server, false),
            None => (ServerProcess::start(&self.options)?, true),
        };
        let config = session::firesteel(server.postgres());
        let opened = async {
            let session = Session::open(&config).await?;
            if new {
                session.declare_tables(&self.data).await?;
            }
            for setting in &self.settings {
                session.execute(setting).await?;
            }
            Ok::<_, crate::Error>(session)
        };
        // The timer needs the runtime around it from the start.
        let opened = async { timeout(CONNECT_TIMEOUT, opened).await };
        let session = self.runtime.block_on(opened)??;
        if new && self.cached {
            let start = Instant::now();
            let loaded = async { timeout(LOAD_TIMEOUT, cache_tables(&session)).await };
            self.runtime.block_on(loaded)??;
            let note = format!(
                "{}: CACHE TABLE of the {} tables took {:.1} s{}",
                self.name,
                TABLES.len(),
                start.elapsed().as_secs_f64(),
                server.state()?
            );
            self.notes.push(note);
        }
        // Only one that has the tables: without them it ends here.
        self.server = Some(server);
        self.session = Some(session);
        Ok(())
    }
}

async fn cache_tables(session: &Session) -> Result<()> {
    for table in TABLES {
        session.execute(&format!("CACHE TABLE {table}")).await?;
    }
    Ok(())
}

impl Engine for Firesteel {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn ready(&mut self) -> Result<()> {
        match self.session {
            Some(_) => Ok(()),
            None => self.connect(),
        }
    }

    fn stop(&mut self) {
        self.session = None;
        let Some(server) = self.server.take() else {
            return;
        };
        if self.cached && self.options.executors == 0 {
            let state = server
                .state()
                .unwrap_or_else(|error| format!(": its state is unknown: {error}"));
            self.notes
                .push(format!("{} after its last query{state}", self.name));
        }
    }

    fn answer(&mut self, sql: &str) -> Result<Answer> {
        self.ready()?;
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
                let log = self.server.as_ref().map(ServerProcess::log_tail);
                Err(format!("{text}{}", log.unwrap_or_default()).into())
            }
            Err(_) => {
                self.session = None;
                Err(format!("no answer in {} s", self.query_timeout.as_secs()).into())
            }
        }
    }
}

/// The rows of an answer as text.
pub(crate) fn rows_of(messages: &[SimpleQueryMessage]) -> Rows {
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
