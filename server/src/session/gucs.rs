//! A session's settings: `SET`, `SET LOCAL`, `RESET`, `SHOW`, and what transactions undo.
//!
//! Each setting has a session value and maybe a local one that hides it until the transaction
//! ends. The first change in a transaction (or since a savepoint) notes what was there before:
//!
//! ```text
//!   SET a = 1     BEGIN    SET a = 2    SAVEPOINT s    SET LOCAL a = 3
//!   session: 1             session: 2                  session: 2, local: 3
//!                          level 0 notes 1             level 1 notes (2, none)
//!   ROLLBACK TO s applies level 1's notes; ROLLBACK those of both; COMMIT drops locals.
//! ```

use std::collections::BTreeMap;

use functions::pg_type::FormatSettings;
use job::{ErrorReport, SqlState};

use super::transaction::SavepointDepth;
use crate::config::{
    Config, KEYS, Key, KeyId, REPORTED, Scope, Value, check_pool, split_identifiers,
};

/// Names of our own settings: unknown ones under this prefix are errors, not placeholders.
const RESERVED_PREFIX: &str = "firesteel";
/// Placeholder settings (`myapp.user`) one session may define.
const CUSTOM_MAX: usize = 1_000;
/// `invalid_name`
const INVALID_NAME: SqlState = SqlState(*b"42602");

/// How long a `SET` lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetScope {
    Session,
    /// Until the transaction ends.
    Local,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    session: Value,
    local: Option<Value>,
}

impl Setting {
    fn new(session: Value) -> Self {
        Self {
            session,
            local: None,
        }
    }

    fn value(&self) -> &Value {
        self.local.as_ref().unwrap_or(&self.session)
    }
}

/// What is set: a known key, or a placeholder by its lower-case name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Key(KeyId),
    Custom(String),
}

/// The settings that hold when nothing is open, one entry per slot changed; `None` for a
/// placeholder that did not exist.
type Notes = BTreeMap<Slot, Option<Setting>>;

#[derive(Debug)]
pub struct Gucs {
    /// Parallel to [`KEYS`].
    keys: Vec<Setting>,
    custom: BTreeMap<String, Setting>,
    /// What RESET goes back to; parallel to [`KEYS`].
    defaults: Vec<Value>,
    /// What `firesteel.pool` may be.
    pools: Vec<String>,
    /// One per open transaction and savepoint, the transaction's first.
    levels: Vec<Notes>,
    /// Counts changes, so that readers know when to look again.
    version: u64,
    /// The format settings of a version.
    format: Option<(u64, FormatSettings)>,
}

impl Gucs {
    /// The settings of a new session: the configuration's, with the session's user among the facts.
    pub fn new(config: &Config, user: &str) -> Self {
        let mut defaults = config.values().to_vec();
        defaults[KeyId::SessionAuthorization as usize] = Value::Text(user.to_owned());
        Self {
            keys: defaults.iter().cloned().map(Setting::new).collect(),
            custom: BTreeMap::new(),
            defaults,
            pools: config.pool_names(),
            levels: Vec::new(),
            version: 0,
            format: None,
        }
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    /// A setting from the start-up packet: what RESET then goes back to.
    pub fn set_at_startup(&mut self, name: &str, text: &str) -> Result<(), ErrorReport> {
        self.set(name, Some(text), SetScope::Session)?;
        if let Some(id) = KeyId::by_name(name) {
            self.defaults[id as usize] = self.keys[id as usize].session.clone();
        }
        Ok(())
    }

    /// SET; `None` is DEFAULT. Outside of a transaction the caller opens one around it.
    pub fn set(
        &mut self,
        name: &str,
        text: Option<&str>,
        scope: SetScope,
    ) -> Result<(), ErrorReport> {
        let Some(id) = KeyId::by_name(name) else {
            return self.set_custom(name, text, scope);
        };
        let key = id.key();
        match key.scope {
            Scope::Session => {}
            Scope::Fixed => {
                return Err(ErrorReport::new(
                    SqlState::CANT_CHANGE_RUNTIME_PARAM,
                    format!("parameter \"{}\" cannot be changed", key.name),
                ));
            }
            Scope::Restart => {
                return Err(ErrorReport::new(
                    SqlState::CANT_CHANGE_RUNTIME_PARAM,
                    format!(
                        "parameter \"{}\" cannot be changed without restarting the server",
                        key.name
                    ),
                )
                .with_hint(format!("Set {} in the configuration.", key.path())));
            }
        }
        let value = match text {
            None => self.defaults[id as usize].clone(),
            Some(text) => {
                if id == KeyId::Pool {
                    check_pool(text, &self.pools)?;
                }
                let current = self.keys[id as usize].value();
                let text = if id == KeyId::ApplicationName {
                    &printable(text)
                } else {
                    text
                };
                key.kind.parse_over(key.name, text, Some(current))?
            }
        };
        // The characteristics of a transaction end with it, however they are set.
        let scope = match id {
            KeyId::TransactionIsolation
            | KeyId::TransactionReadOnly
            | KeyId::TransactionDeferrable => SetScope::Local,
            _ => scope,
        };
        self.put(Slot::Key(id), value, scope);
        Ok(())
    }

    fn set_custom(
        &mut self,
        name: &str,
        text: Option<&str>,
        scope: SetScope,
    ) -> Result<(), ErrorReport> {
        let name = name.to_lowercase();
        check_custom_name(&name)?;
        if !self.custom.contains_key(&name) && self.custom.len() >= CUSTOM_MAX {
            return Err(ErrorReport::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("a session cannot define more than {CUSTOM_MAX} custom parameters"),
            ));
        }
        let value = Value::Text(text.unwrap_or_default().to_owned());
        self.put(Slot::Custom(name), value, scope);
        Ok(())
    }

    /// RESET.
    pub fn reset(&mut self, name: &str) -> Result<(), ErrorReport> {
        self.set(name, None, SetScope::Session)
    }

    /// RESET ALL: everything but the characteristics of the present transaction.
    pub fn reset_all(&mut self) {
        for key in KEYS.iter().filter(|key| key.scope == Scope::Session) {
            let default = self.defaults[key.id as usize].clone();
            let setting = &self.keys[key.id as usize];
            let of_transaction = matches!(
                key.id,
                KeyId::TransactionIsolation
                    | KeyId::TransactionReadOnly
                    | KeyId::TransactionDeferrable
            );
            if !of_transaction && (setting.local.is_some() || setting.session != default) {
                self.put(Slot::Key(key.id), default, SetScope::Session);
            }
        }
        let custom: Vec<_> = self.custom.keys().cloned().collect();
        for name in custom {
            self.put(
                Slot::Custom(name),
                Value::Text(String::new()),
                SetScope::Session,
            );
        }
    }

    fn put(&mut self, slot: Slot, value: Value, scope: SetScope) {
        self.version += 1;
        let before = match &slot {
            Slot::Key(id) => Some(self.keys[*id as usize].clone()),
            Slot::Custom(name) => self.custom.get(name).cloned(),
        };
        let after = match scope {
            SetScope::Session => Setting::new(value),
            SetScope::Local => Setting {
                session: before
                    .as_ref()
                    .map_or_else(|| Value::Text(String::new()), |b| b.session.clone()),
                local: Some(value),
            },
        };
        if let Some(notes) = self.levels.last_mut() {
            notes.entry(slot.clone()).or_insert(before);
        }
        self.restore(slot, Some(after));
    }

    fn restore(&mut self, slot: Slot, setting: Option<Setting>) {
        match (slot, setting) {
            (Slot::Key(id), Some(setting)) => self.keys[id as usize] = setting,
            (Slot::Custom(name), Some(setting)) => {
                self.custom.insert(name, setting);
            }
            (Slot::Custom(name), None) => {
                self.custom.remove(&name);
            }
            // Keys always exist, so their notes always hold a setting.
            (Slot::Key(_), None) => {}
        }
    }

    /// A transaction begins, implicit or not. Beginning twice is once.
    pub fn begin(&mut self) {
        if self.levels.is_empty() {
            self.levels.push(Notes::new());
        }
    }

    pub fn savepoint(&mut self) {
        self.levels.push(Notes::new());
    }

    /// The savepoints from `depth` on are gone; what was set since stays.
    pub fn release(&mut self, depth: SavepointDepth) {
        for notes in self.levels.split_off((depth.0 + 1).min(self.levels.len())) {
            if let Some(outer) = self.levels.last_mut() {
                for (slot, before) in notes {
                    outer.entry(slot).or_insert(before);
                }
            }
        }
    }

    /// Back to how it was at savepoint `depth`, which stays.
    pub fn rollback_to(&mut self, depth: SavepointDepth) {
        self.undo_down_to(depth.0 + 1);
        self.levels.push(Notes::new());
    }

    /// The transaction ends and what was SET stays.
    pub fn commit(&mut self) {
        let notes: Vec<_> = self.levels.drain(..).flatten().collect();
        for (slot, _) in notes {
            match slot {
                Slot::Key(id) => {
                    self.version += u64::from(self.keys[id as usize].local.take().is_some());
                }
                Slot::Custom(name) => {
                    if let Some(setting) = self.custom.get_mut(&name) {
                        setting.local = None;
                    }
                }
            }
        }
    }

    /// The transaction ends and nothing of it stays.
    pub fn rollback(&mut self) {
        self.undo_down_to(0);
    }

    fn undo_down_to(&mut self, level: usize) {
        while self.levels.len() > level {
            for (slot, before) in self.levels.pop().unwrap_or_default() {
                self.version += 1;
                self.restore(slot, before);
            }
        }
    }

    pub fn value(&self, id: KeyId) -> &Value {
        // Outside of a SET TRANSACTION the present transaction is as new ones are.
        let id = match id {
            KeyId::TransactionIsolation if self.keys[id as usize].local.is_none() => {
                KeyId::DefaultTransactionIsolation
            }
            KeyId::TransactionReadOnly if self.keys[id as usize].local.is_none() => {
                KeyId::DefaultTransactionReadOnly
            }
            KeyId::TransactionDeferrable if self.keys[id as usize].local.is_none() => {
                KeyId::DefaultTransactionDeferrable
            }
            id => id,
        };
        self.keys[id as usize].value()
    }

    /// What RESET goes back to.
    pub fn default_of(&self, id: KeyId) -> &Value {
        &self.defaults[id as usize]
    }

    pub fn flag(&self, id: KeyId) -> bool {
        matches!(self.value(id), Value::Bool(true))
    }

    pub fn text(&self, id: KeyId) -> &str {
        match self.value(id) {
            Value::Text(text) => text,
            Value::Bool(_) | Value::Int(_) => "",
        }
    }

    pub fn int(&self, id: KeyId) -> i64 {
        match self.value(id) {
            Value::Int(n) => *n,
            Value::Bool(_) | Value::Text(_) => 0,
        }
    }

    /// `None` for 0, which means never.
    pub fn timeout(&self, id: KeyId) -> Option<std::time::Duration> {
        match self.int(id) {
            0 => None,
            ms => Some(std::time::Duration::from_millis(ms.unsigned_abs())),
        }
    }

    /// As SHOW prints it.
    pub fn show_key(&self, key: &Key) -> String {
        key.kind.show(self.value(key.id))
    }

    /// SHOW by name: the name as the table spells it, and the value.
    pub fn show(&self, name: &str) -> Result<(String, String), ErrorReport> {
        if let Some(id) = KeyId::by_name(name) {
            return Ok((id.key().name.to_owned(), self.show_key(id.key())));
        }
        let lower = name.to_lowercase();
        match self.custom.get(&lower).map(Setting::value) {
            Some(Value::Text(text)) => Ok((lower, text.clone())),
            Some(Value::Bool(_) | Value::Int(_)) | None => Err(unrecognized(name)),
        }
    }

    /// SHOW ALL: name, value and description in name order.
    pub fn show_all(&self) -> Vec<(String, String, &'static str)> {
        let mut rows: Vec<_> = KEYS
            .iter()
            .map(|key| (key.name.to_owned(), self.show_key(key), key.doc))
            .collect();
        rows.sort_by_key(|(name, ..)| name.to_lowercase());
        rows
    }

    /// The values a client is told about, parallel to [`REPORTED`].
    pub fn reported(&self) -> Vec<String> {
        REPORTED.iter().map(|id| self.show_key(id.key())).collect()
    }

    /// The search path as names; `"$user"` is still in it.
    pub fn search_path(&self) -> Vec<String> {
        split_identifiers(self.text(KeyId::SearchPath)).unwrap_or_default()
    }

    /// What decides how values look. Read from the settings once per change of any of them.
    pub fn format_settings(&mut self) -> FormatSettings {
        if let Some((version, settings)) = &self.format
            && *version == self.version
        {
            return settings.clone();
        }
        let settings = self.read_format_settings();
        self.format = Some((self.version, settings.clone()));
        settings
    }

    fn read_format_settings(&self) -> FormatSettings {
        let mut settings = FormatSettings::default();
        for name in FormatSettings::NAMES {
            if let Some(id) = KeyId::by_name(name) {
                let value = self.show_key(id.key());
                // Checked by the same rules when it was set.
                if let Err(error) = settings.set(name, &value) {
                    tracing::error!(name, value, %error, "setting was accepted but can't be used");
                }
            }
        }
        settings
    }
}

fn unrecognized(name: &str) -> ErrorReport {
    ErrorReport::new(
        SqlState::UNDEFINED_OBJECT,
        format!("unrecognized configuration parameter \"{name}\""),
    )
}

fn check_custom_name(name: &str) -> Result<(), ErrorReport> {
    if !name.contains('.') {
        return Err(unrecognized(name));
    }
    let invalid = || {
        ErrorReport::new(
            INVALID_NAME,
            format!("invalid configuration parameter name \"{name}\""),
        )
    };
    if name.split('.').next() == Some(RESERVED_PREFIX) {
        let ours = KEYS.iter().map(|key| key.name.to_owned());
        let error = invalid().with_detail(format!("\"{RESERVED_PREFIX}\" is a reserved prefix."));
        return Err(match crate::config::nearest(name, ours) {
            Some(near) => error.with_hint(format!("Perhaps you meant \"{near}\".")),
            None => error,
        });
    }
    let well_formed = |part: &str| {
        part.chars()
            .next()
            .is_some_and(|c| c.is_alphabetic() || c == '_')
            && part
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'))
    };
    if !name.split('.').all(well_formed) {
        return Err(invalid().with_detail(
            "Custom parameter names must be two or more simple identifiers separated by dots.",
        ));
    }
    Ok(())
}

/// PostgreSQL shows other bytes of an application's name as `\xNN`.
fn printable(text: &str) -> String {
    text.bytes().fold(String::new(), |mut clean, byte| {
        match byte {
            b' '..=b'~' => clean.push(byte.into()),
            _ => clean.push_str(&format!("\\x{byte:02x}")),
        }
        clean
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gucs() -> Gucs {
        Gucs::new(&Config::default(), "ada")
    }

    fn shown(gucs: &Gucs, name: &str) -> String {
        gucs.show(name)
            .map_or_else(|e| e.to_string(), |(_, value)| value)
    }

    #[test]
    fn set_show_and_reset() {
        let mut gucs = gucs();
        gucs.set("STATEMENT_timeout", Some("5000"), SetScope::Session)
            .expect("valid");
        assert_eq!(shown(&gucs, "statement_timeout"), "5s");
        gucs.reset("statement_timeout").expect("known");
        assert_eq!(shown(&gucs, "statement_timeout"), "0");
        gucs.set("datestyle", Some("german"), SetScope::Session)
            .expect("valid");
        assert_eq!(
            gucs.show("datestyle"),
            Ok(("DateStyle".into(), "German, DMY".into()))
        );
        gucs.reset_all();
        assert_eq!(shown(&gucs, "datestyle"), "ISO, MDY");
        assert_eq!(shown(&gucs, "session_authorization"), "ada");
    }

    #[test]
    fn values_are_what_the_type_library_reads() {
        let mut gucs = gucs();
        for (name, value) in [
            ("timezone", "america/new_york"),
            ("intervalstyle", "ISO_8601"),
            ("bytea_output", "Escape"),
            ("extra_float_digits", "-3"),
            ("datestyle", "sql, dmy"),
        ] {
            gucs.set(name, Some(value), SetScope::Session)
                .expect("valid");
        }
        let settings = gucs.format_settings();
        for (name, value) in settings.entries() {
            assert_eq!(shown(&gucs, name), value);
        }
        assert_eq!(settings.time_zone.name(), "America/New_York");
    }

    #[test]
    fn unknown_names_are_errors_unless_dotted() {
        let mut gucs = gucs();
        let set = |gucs: &mut Gucs, name: &str| gucs.set(name, Some("x"), SetScope::Session);
        let error = set(&mut gucs, "no_such").expect_err("unknown");
        assert_eq!(
            error.message,
            "unrecognized configuration parameter \"no_such\""
        );
        assert_eq!(error.sqlstate, SqlState::UNDEFINED_OBJECT);
        assert!(gucs.show("my.app").is_err());
        set(&mut gucs, "My.App").expect("placeholder");
        assert_eq!(shown(&gucs, "my.app"), "x");
        let error = set(&mut gucs, "firesteel.force_exchang").expect_err("reserved");
        assert!(
            error
                .hint
                .is_some_and(|hint| hint.contains("firesteel.force_exchange"))
        );
        assert!(set(&mut gucs, "a.1b").is_err());
        assert!(set(&mut gucs, "a.").is_err());
    }

    #[test]
    fn facts_and_start_options_cannot_be_set() {
        let mut gucs = gucs();
        for name in ["server_version", "max_connections", "firesteel.listen"] {
            let error = gucs
                .set(name, Some("1"), SetScope::Session)
                .expect_err("not settable");
            assert_eq!(
                error.sqlstate,
                SqlState::CANT_CHANGE_RUNTIME_PARAM,
                "{name}"
            );
        }
    }

    #[test]
    fn transactions_undo_sets_and_drop_locals() {
        let mut gucs = gucs();
        let set = |gucs: &mut Gucs, value: &str, scope| {
            gucs.set("extra_float_digits", Some(value), scope)
                .expect("valid");
        };
        let get = |gucs: &Gucs| gucs.int(KeyId::ExtraFloatDigits);
        gucs.begin();
        set(&mut gucs, "2", SetScope::Session);
        gucs.commit();
        assert_eq!(get(&gucs), 2);

        gucs.begin();
        set(&mut gucs, "3", SetScope::Session);
        gucs.rollback();
        assert_eq!(get(&gucs), 2);

        gucs.begin();
        set(&mut gucs, "3", SetScope::Session);
        set(&mut gucs, "-1", SetScope::Local);
        assert_eq!(get(&gucs), -1);
        gucs.commit();
        assert_eq!(get(&gucs), 3);

        // A SET after a SET LOCAL wins and lasts.
        gucs.begin();
        set(&mut gucs, "-1", SetScope::Local);
        set(&mut gucs, "0", SetScope::Session);
        gucs.commit();
        assert_eq!(get(&gucs), 0);
    }

    #[test]
    fn savepoints_undo_their_part() {
        let mut gucs = gucs();
        let get = |gucs: &Gucs| shown(gucs, "my.x");
        let set = |gucs: &mut Gucs, value: &str| {
            gucs.set("my.x", Some(value), SetScope::Session)
                .expect("valid");
        };
        gucs.begin();
        set(&mut gucs, "a");
        gucs.savepoint();
        set(&mut gucs, "b");
        gucs.savepoint();
        set(&mut gucs, "c");
        gucs.rollback_to(SavepointDepth(0));
        assert_eq!(get(&gucs), "a");
        set(&mut gucs, "d");
        gucs.release(SavepointDepth(0));
        assert_eq!(get(&gucs), "d");
        gucs.rollback();
        assert!(gucs.show("my.x").is_err());
    }

    #[test]
    fn transaction_characteristics_follow_the_defaults() {
        let mut gucs = gucs();
        gucs.set(
            "default_transaction_isolation",
            Some("serializable"),
            SetScope::Session,
        )
        .expect("valid");
        assert_eq!(shown(&gucs, "transaction_isolation"), "serializable");
        gucs.begin();
        gucs.set(
            "transaction_isolation",
            Some("repeatable read"),
            SetScope::Session,
        )
        .expect("valid");
        assert_eq!(shown(&gucs, "transaction_isolation"), "repeatable read");
        gucs.commit();
        assert_eq!(shown(&gucs, "transaction_isolation"), "serializable");
    }

    #[test]
    fn application_names_are_made_printable() {
        let mut gucs = gucs();
        gucs.set_at_startup("application_name", "pé\n")
            .expect("valid");
        assert_eq!(shown(&gucs, "application_name"), "p\\xc3\\xa9\\x0a");
        gucs.set("application_name", Some("x"), SetScope::Session)
            .expect("valid");
        gucs.reset("application_name").expect("known");
        assert_eq!(shown(&gucs, "application_name"), "p\\xc3\\xa9\\x0a");
    }
}
