//! The session's settings as functions see them: `current_setting`, `set_config`.

use std::sync::{Arc, Mutex};

use functions::error::PgError;
use functions::session::Settings;

use super::gucs::{Gucs, SetScope};
use super::registry::lock;

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
