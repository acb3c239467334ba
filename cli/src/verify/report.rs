//! What was checked, how often, and what does not hold. The structures are the JSON output; `Display` is the screen.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use serde::Serialize;
use sextant_redo::ClusterId;
use sextant_sim::invariants::Checked;

/// Violations, and reasons why something could not be checked, that are kept of each invariant.
const KEPT: usize = 20;

/// The outcome.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Nothing that was checked is violated.
    pub(crate) ok: bool,
    pub(crate) cluster: ClusterId,
    pub(crate) checks: Vec<Check>,
    #[serde(skip)]
    by_id: BTreeMap<&'static str, Check>,
}

/// One invariant.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    /// I1 to I10.
    pub(crate) invariant: &'static str,
    /// What it says.
    pub(crate) statement: &'static str,
    /// How often it was checked.
    pub(crate) checked: u64,
    /// What was counted.
    pub(crate) unit: &'static str,
    /// What was seen where it does not hold.
    pub(crate) violations: Vec<String>,
    /// What could not be asked, and why.
    pub(crate) unchecked: Vec<String>,
}

/// Invariants that can be seen from outside: id, statement, what is counted.
const INVARIANTS: [(&str, &str, &str); 8] = [
    ("I1", "what the writer calls durable is on a write quorum", "protection groups"),
    ("I2", "points and epochs of a copy do not go back", "copies"),
    ("I3", "no copy is ahead of the granted epoch; an opening truncated in one way", "protection groups"),
    ("I5", "copies become equal: SCLs, and bytes of pages at one read point", "copies and pages"),
    ("I6", "a page is served with its own id and the right checksum", "page images"),
    ("I7", "no page is newer than its read point", "page images"),
    ("I8", "one member set per membership epoch; its quorums meet and survive a zone", "protection groups"),
    ("I10", "the granted volume epoch does not go back", "volumes"),
];

impl Report {
    /// Notes one check of `id`.
    pub(crate) fn checked(&mut self, id: &'static str, outcome: Checked) {
        let check = self.check(id);
        check.checked += 1;
        if let Err(violation) = outcome
            && check.violations.len() < KEPT
        {
            check.violations.push(violation.what);
        }
    }

    /// Notes that `id` could not be checked somewhere.
    pub(crate) fn unchecked(&mut self, id: &'static str, why: String) {
        let check = self.check(id);
        if check.unchecked.len() < KEPT && !check.unchecked.contains(&why) {
            check.unchecked.push(why);
        }
    }

    /// The whole, every invariant being listed.
    pub(crate) fn finished(mut self, cluster: ClusterId) -> Report {
        self.checks = INVARIANTS.iter().map(|(id, ..)| self.take(id)).collect();
        self.ok = self.checks.iter().all(|check| check.violations.is_empty());
        self.cluster = cluster;
        self
    }

    fn take(&mut self, id: &'static str) -> Check {
        self.by_id.remove(id).unwrap_or_else(|| Check::new(id))
    }

    fn check(&mut self, id: &'static str) -> &mut Check {
        self.by_id.entry(id).or_insert_with(|| Check::new(id))
    }
}

impl Check {
    fn new(id: &'static str) -> Check {
        let known = INVARIANTS.iter().find(|(known, ..)| *known == id);
        let (invariant, statement, unit) = known.copied().unwrap_or((id, "", ""));
        Check { invariant, statement, checked: 0, unit, violations: Vec::new(), unchecked: Vec::new() }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "cluster {}", self.cluster)?;
        for check in &self.checks {
            let Check { invariant, statement, checked, unit, .. } = check;
            let verdict = match (check.violations.is_empty(), *checked) {
                (false, _) => "VIOLATED",
                (true, 0) => "not checked",
                (true, _) => "holds",
            };
            writeln!(f, "{invariant:<4} {verdict:<12} {statement} ({checked} {unit})")?;
            check.violations.iter().try_for_each(|what| writeln!(f, "     violated: {what}"))?;
            check.unchecked.iter().try_for_each(|why| writeln!(f, "     not checked: {why}"))?;
        }
        f.write_str(if self.ok { "everything that was checked holds" } else { "VIOLATED" })
    }
}

#[cfg(test)]
mod tests {
    use sextant_sim::invariants::Violation;

    use super::*;

    #[test]
    fn a_violation_is_told_and_what_was_not_checked_is_no_violation() {
        let mut report = Report::default();
        report.checked("I2", Ok(()));
        report.unchecked("I5", "node 3 is silent".to_owned());
        let clean = report.finished(ClusterId(1));
        assert!(clean.ok && clean.checks.len() == INVARIANTS.len());
        assert!(clean.to_string().contains("not checked: node 3 is silent"), "{clean}");

        let mut report = Report::default();
        report.checked("I2", Err(Violation { invariant: "I2", what: "it went back".to_owned() }));
        let wrong = report.finished(ClusterId(1));
        assert!(!wrong.ok);
        let json = serde_json::to_value(&wrong).expect("JSON");
        assert_eq!(json["checks"][1]["violations"][0], "it went back");
        assert!(wrong.to_string().contains("VIOLATED"), "{wrong}");
    }
}
