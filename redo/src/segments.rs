//! What the copies of a protection group keep of it (P18 section 4.2): all of them log and pages, or three log and pages and
//! three log alone.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What one segment keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentKind {
    /// Log and pages.
    #[default]
    Full,
    /// Log alone, until every full segment of its group has it.
    Tail,
}

impl SegmentKind {
    /// True for what most segments are; what is stored and sent leaves it out.
    #[must_use]
    pub fn is_full(&self) -> bool {
        *self == SegmentKind::Full
    }
}

impl fmt::Display for SegmentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SegmentKind::Full => "full",
            SegmentKind::Tail => "tail",
        })
    }
}

/// What the six segments of each group of a volume are, chosen when the volume is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Segments {
    /// Six full ones.
    #[default]
    Full,
    /// Three full ones and three tails, one of each in each zone.
    FullTail,
}

impl Segments {
    /// True for six full segments; what is stored and sent leaves it out.
    #[must_use]
    pub fn is_full(&self) -> bool {
        *self == Segments::Full
    }
}

impl fmt::Display for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Segments::Full => "full",
            Segments::FullTail => "full-tail",
        })
    }
}

impl FromStr for Segments {
    type Err = String;

    fn from_str(name: &str) -> Result<Segments, String> {
        match name {
            "full" => Ok(Segments::Full),
            "full-tail" => Ok(Segments::FullTail),
            _ => Err(format!("{name:?} is neither \"full\" nor \"full-tail\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for segments in [Segments::Full, Segments::FullTail] {
            assert_eq!(segments.to_string().parse(), Ok(segments));
        }
        assert!("tail".parse::<Segments>().is_err());
    }
}
