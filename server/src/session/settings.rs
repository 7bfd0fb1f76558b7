//! The session's settings and the other sessions as functions see them: `current_setting`,
//! `set_config`, `pg_cancel_backend`.

use std::sync::{Arc, Mutex};

use functions::error::PgError;
use functions::session::{Backends, Settings};

use super::gucs::{Gucs, SetScope};
use super::registry::{SessionRegistry, lock};

/// A door to the settings that a statement's functions may hold on to.
#[derive(Debug, Clone)]
pub(super) struct SharedSettings(pub(super) Arc<Mutex<Gucs>>);

impl Settings for SharedSettings {
    fn show(&self, name: &str) -> Option<String> {
        lock(&self.0).show(name).ok().map(|(_, value)| value)
    }

    fn set(&self, name: &str, value: &str, local: bool) -> Result<String, PgError> {
        let scope = if local {
            SetScope::Local
        } else {
            SetScope::Session
        };
        let mut gucs = lock(&self.0);
        gucs.set(name, Some(value), scope)?;
        Ok(gucs.show(name)?.1)
    }
}

/// A door to the other sessions.
#[derive(Debug, Clone)]
pub(super) struct SharedRegistry(pub(super) Arc<SessionRegistry>);

impl Backends for SharedRegistry {
    fn cancel(&self, pid: i32) -> Result<bool, PgError> {
        let session = self.0.get(pid);
        if let Some(session) = &session {
            session.interrupt.cancel();
        }
        Ok(session.is_some())
    }

    fn terminate(&self, pid: i32) -> Result<bool, PgError> {
        let session = self.0.get(pid);
        if let Some(session) = &session {
            session.interrupt.terminate();
        }
        Ok(session.is_some())
    }
}
