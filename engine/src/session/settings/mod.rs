//! A session's settings: SET, SET LOCAL, RESET, SHOW, and what clients are told of them.
//!
//! What must hold: a SET is undone when its transaction is rolled back, a SET LOCAL when its transaction ends; a value
//! is checked before it is taken; an unknown name is an error (42704), never a silent no-op.

mod table;
mod value;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

pub use table::SERVER_VERSION;

use crate::types::{SqlError, SqlResult, TimeZone, sqlstate};

type Value = Cow<'static, str>;

/// What a setting goes back to when the transaction ends.
#[derive(Debug, Clone)]
struct Saved {
    before: Value,
    /// What SET (not SET LOCAL) gave it; stays after a commit.
    committed: Option<Value>,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Settings {
    values: Vec<Value>,
    /// What RESET goes back to: the defaults with what the startup packet said.
    at_start: Vec<Value>,
    saved: BTreeMap<usize, Saved>,
    /// Every change since the transaction began, for savepoints: the setting, and what there was of it.
    log: Vec<(usize, Value, Option<Saved>)>,
    reported: BTreeMap<usize, Value>,
    changed: bool,
    generation: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        let values: Vec<Value> = table::TABLE.iter().map(|row| Cow::Borrowed(row.default)).collect();
        Settings {
            at_start: values.clone(),
            values,
            saved: BTreeMap::new(),
            log: Vec::new(),
            reported: BTreeMap::new(),
            changed: true,
            generation: 0,
        }
    }
}

fn index(name: &str) -> SqlResult<usize> {
    table::find(name).ok_or_else(|| {
        SqlError::new(sqlstate::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
    })
}

impl Settings {
    /// Takes a value of the startup packet: it becomes what RESET goes back to.
    ///
    /// # Errors
    /// 42704, 22023, 55P02.
    pub fn start_with(&mut self, name: &str, value: &str) -> SqlResult<()> {
        let at = index(name)?;
        let value = value::canonical(&table::TABLE[at], value)?;
        self.put(at, value.clone());
        self.at_start[at] = value;
        Ok(())
    }

    /// Says what a fixed setting is in this session, as `session_authorization`.
    pub fn fix(&mut self, name: &str, value: &str) {
        if let Some(at) = table::find(name) {
            self.put(at, Cow::Owned(value.to_owned()));
            self.at_start[at] = Cow::Owned(value.to_owned());
        }
    }

    /// SET name TO value; `local`: until the transaction ends. `None` is DEFAULT.
    ///
    /// # Errors
    /// 42704, 22023, 55P02.
    pub fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> SqlResult<()> {
        let at = index(name)?;
        let row = &table::TABLE[at];
        let value = match value {
            Some(value) => value::canonical(row, value)?,
            None if matches!(row.kind, table::Kind::Fixed) => return value::canonical(row, "").map(|_| ()),
            None => self.at_start[at].clone(),
        };
        self.change(at, value, local);
        Ok(())
    }

    fn change(&mut self, at: usize, value: Value, local: bool) {
        let now = self.values[at].clone();
        self.log.push((at, now.clone(), self.saved.get(&at).cloned()));
        let saved = self.saved.entry(at).or_insert(Saved { before: now, committed: None });
        if !local {
            saved.committed = Some(value.clone());
        }
        self.put(at, value);
    }

    /// RESET ALL, or DISCARD ALL.
    pub fn reset_all(&mut self) {
        for at in 0..self.values.len() {
            let value = self.at_start[at].clone();
            if self.values[at] != value {
                self.change(at, value, false);
            }
        }
    }

    /// The transaction ends: keeps what SET gave, takes back the rest.
    pub fn end_transaction(&mut self, committed: bool) {
        self.log.clear();
        for (at, saved) in std::mem::take(&mut self.saved) {
            let value = match saved.committed {
                Some(value) if committed => value,
                _ => saved.before,
            };
            self.put(at, value);
        }
    }

    /// Where a savepoint is set now.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.log.len()
    }

    /// Takes back what was set since [`Settings::mark`] gave `mark`.
    pub fn rollback_to(&mut self, mark: usize) {
        while self.log.len() > mark
            && let Some((at, value, saved)) = self.log.pop()
        {
            match saved {
                Some(saved) => self.saved.insert(at, saved),
                None => self.saved.remove(&at),
            };
            self.put(at, value);
        }
    }

    fn put(&mut self, at: usize, value: Value) {
        if self.values[at] != value {
            self.values[at] = value;
            self.changed = true;
            self.generation += 1;
        }
    }

    /// Grows with every change, so that what is made from the settings is made anew only then.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// SHOW name: the setting's spelling of its name, and its value.
    ///
    /// # Errors
    /// 42704.
    pub fn show(&self, name: &str) -> SqlResult<(&'static str, &str)> {
        let at = index(name)?;
        Ok((table::TABLE[at].name, &self.values[at]))
    }

    /// The value of a setting that is known to be in the table; empty if it is not.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        table::find(name).map_or("", |at| &self.values[at])
    }

    /// SHOW ALL: name, value, description.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &str, &'static str)> {
        table::TABLE.iter().zip(&self.values).map(|(row, value)| (row.name, value.as_ref(), row.about))
    }

    /// A timeout setting; `None` when it is off.
    #[must_use]
    pub fn timeout(&self, name: &str) -> Option<Duration> {
        let ms = value::millis(self.get(name))?;
        u64::try_from(ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis)
    }

    /// The session's time zone.
    #[must_use]
    pub fn time_zone(&self) -> TimeZone {
        zone_of(self.get("TimeZone")).unwrap_or_default()
    }

    /// Hands `report` every reported setting that is not what it was last reported as.
    pub fn report(&mut self, mut report: impl FnMut(&'static str, &str)) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        for (at, row) in table::TABLE.iter().enumerate().filter(|(_, row)| row.reported) {
            let value = &self.values[at];
            if self.reported.get(&at) != Some(value) {
                report(row.name, value);
                self.reported.insert(at, value.clone());
            }
        }
    }
}

/// The name as the table spells it; as it came when it is not there.
pub(super) fn spelled(name: &str) -> &str {
    table::find(name).map_or(name, |at| table::TABLE[at].name)
}

fn zone_of(text: &str) -> Option<TimeZone> {
    TimeZone::parse(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(result: SqlResult<()>) -> &'static str {
        result.unwrap_err().sqlstate
    }

    #[test]
    fn set_is_checked_and_spelled() {
        let mut settings = Settings::default();
        settings.set("STATEMENT_timeout", Some("5000"), false).unwrap();
        assert_eq!(settings.show("statement_timeout").unwrap(), ("statement_timeout", "5s"));
        assert_eq!(settings.timeout("statement_timeout"), Some(Duration::from_secs(5)));
        settings.set("statement_timeout", Some("1500ms"), false).unwrap();
        assert_eq!(settings.get("statement_timeout"), "1500ms");
        assert_eq!(code(settings.set("extra_float_digits", Some("9"), false)), "22023");
        assert_eq!(code(settings.set("nonsense", Some("9"), false)), "42704");
        assert_eq!(code(settings.set("server_version", Some("16"), false)), "55P02");
        assert_eq!(code(settings.set("client_encoding", Some("LATIN1"), false)), "22023");
    }

    #[test]
    fn a_rollback_takes_set_back_and_a_commit_takes_set_local_back() {
        let mut settings = Settings::default();
        settings.set("application_name", Some("a"), false).unwrap();
        settings.end_transaction(false);
        assert_eq!(settings.get("application_name"), "");
        settings.set("application_name", Some("b"), false).unwrap();
        settings.set("application_name", Some("c"), true).unwrap();
        assert_eq!(settings.get("application_name"), "c");
        settings.end_transaction(true);
        assert_eq!(settings.get("application_name"), "b");
        settings.set("application_name", None, false).unwrap();
        settings.end_transaction(true);
        assert_eq!(settings.get("application_name"), "");
    }

    #[test]
    fn a_savepoint_takes_back_what_was_set_behind_it() {
        let mut settings = Settings::default();
        settings.set("application_name", Some("a"), false).unwrap();
        let mark = settings.mark();
        settings.set("application_name", Some("b"), false).unwrap();
        settings.set("application_name", Some("c"), true).unwrap();
        settings.set("work_mem", Some("8MB"), false).unwrap();
        settings.rollback_to(mark);
        assert_eq!((settings.get("application_name"), settings.get("work_mem")), ("a", "4MB"));
        settings.end_transaction(true);
        assert_eq!((settings.get("application_name"), settings.get("work_mem")), ("a", "4MB"));
    }

    #[test]
    fn only_changes_are_reported() {
        let mut settings = Settings::default();
        let mut names = Vec::new();
        settings.report(|name, _| names.push(name));
        assert_eq!(names.len(), 13, "{names:?}");
        settings.set("application_name", Some("x"), false).unwrap();
        settings.set("work_mem", Some("8MB"), false).unwrap();
        let mut changes = Vec::new();
        settings.report(|name, value| changes.push((name, value.to_owned())));
        assert_eq!(changes, [("application_name", "x".to_owned())]);
    }
}
