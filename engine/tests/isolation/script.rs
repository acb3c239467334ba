//! The format of a script.
//!
//! ```text
//! # What the story is about.
//!
//! setup
//!     create table test (id int primary key, value int)
//! steps
//!     a: begin isolation level {level}
//!     a: select * from test
//!     b!: update test set value = 0 -- a step that ends by itself, if late
//!
//! read committed
//!     a: begin isolation level read committed -> BEGIN
//!     a: select * from test -> (1,10)
//! ```

/// A step of a session.
pub(crate) struct Step {
    /// As the file spells the session.
    pub(crate) name: String,
    pub(crate) session: char,
    /// It ends by itself: a timeout is waited for.
    pub(crate) ends: bool,
    pub(crate) sql: String,
}

/// A script, without what came of it.
pub(crate) struct Script {
    about: Vec<String>,
    pub(crate) setup: Vec<String>,
    pub(crate) steps: Vec<Step>,
    levels: Vec<String>,
}

impl Script {
    pub(crate) fn parse(text: &str) -> Script {
        let mut script =
            Script { about: Vec::new(), setup: Vec::new(), steps: Vec::new(), levels: Vec::new() };
        let mut section = String::new();
        for line in text.lines() {
            if line.starts_with('#') {
                script.about.push(line.to_owned());
            } else if let Some(line) = line.strip_prefix("    ") {
                match section.as_str() {
                    "setup" => script.setup.push(line.to_owned()),
                    "steps" => {
                        let (name, sql) = line.split_once(": ").expect("session: statement");
                        script.steps.push(Step {
                            name: name.to_owned(),
                            session: name.chars().next().expect("a session"),
                            ends: name.ends_with('!'),
                            sql: sql.to_owned(),
                        });
                    }
                    _ => {}
                }
            } else if !line.is_empty() {
                section = line.to_owned();
                if section != "setup" && section != "steps" {
                    script.levels.push(section.clone());
                }
            }
        }
        script
    }

    pub(crate) fn levels(&self) -> impl Iterator<Item = &str> {
        self.levels.iter().map(String::as_str)
    }

    /// The part that is not outcome, as it stands in the file.
    pub(crate) fn head(&self) -> String {
        let mut out = String::new();
        for line in &self.about {
            out.push_str(&format!("{line}\n"));
        }
        out.push_str("\nsetup\n");
        for sql in &self.setup {
            out.push_str(&format!("    {sql}\n"));
        }
        out.push_str("steps\n");
        for step in &self.steps {
            out.push_str(&format!("    {}: {}\n", step.name, step.sql));
        }
        out
    }
}
