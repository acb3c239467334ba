//! Functions by name and argument types, with PostgreSQL's rule for choosing among several of one name: exact types
//! first, then the fewest conversions, preferring the preferred types.

mod advisory;
mod definitions;
mod math;
mod strings;
mod system;
mod time;

use super::{Function, cast};
use crate::types::{SqlError, SqlType, TypeClass, oids, sqlstate};

/// A function's declaration.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) args: &'static [SqlType],
    /// The last argument may come any number of times.
    pub(crate) variadic: bool,
    pub(crate) result: SqlType,
    pub(crate) function: Function,
}

/// Declares a function: name, arguments, result, body. Strict unless said otherwise.
macro_rules! function {
    ($name:literal, [$($arg:ident),*] -> $result:ident, $run:expr) => {
        $crate::sql::expr::functions::Declared {
            args: &[$($crate::types::SqlType::$arg),*],
            variadic: false,
            result: $crate::types::SqlType::$result,
            function: $crate::sql::expr::Function { name: $name, strict: true, run: $run },
        }
    };
    ($name:literal, variadic [$($arg:ident),*] -> $result:ident, $run:expr) => {
        $crate::sql::expr::functions::Declared {
            args: &[$($crate::types::SqlType::$arg),*],
            variadic: true,
            result: $crate::types::SqlType::$result,
            function: $crate::sql::expr::Function { name: $name, strict: false, run: $run },
        }
    };
}
pub(crate) use function;

fn all() -> impl Iterator<Item = &'static Declared> {
    let plain = math::ALL.iter().chain(strings::ALL).chain(system::ALL).chain(time::ALL);
    let plain = plain.chain(definitions::ALL);
    plain.chain(advisory::ALL.iter().flatten()).chain(advisory::UNLOCK_ALL)
}

/// True for functions whose value changes within a statement.
pub(crate) fn is_volatile(function: &Function) -> bool {
    matches!(
        function.name,
        "random" | "currval" | "lastval" | "clock_timestamp" | "setval" | "set_config" | "timeofday"
    ) || advisory::is_one(function.name)
}

/// True for functions of nothing but their arguments: not of the session, the clock, or the time zone.
pub(crate) fn is_immutable(function: &Function) -> bool {
    let declared = |all: &'static [Declared]| all.iter().find(|d| std::ptr::eq(&d.function, function));
    if let Some(of_time) = declared(time::ALL) {
        return !of_time.args.is_empty() && !of_time.args.contains(&SqlType::TIMESTAMPTZ);
    }
    let is_pattern = function.is_operator();
    // These take values of every type, some of which are written as the session likes them.
    let takes_any = matches!(function.name, "concat" | "concat_ws");
    !is_volatile(function)
        && !takes_any
        && (is_pattern || declared(math::ALL).is_some() || declared(strings::ALL).is_some())
}

impl Declared {
    fn arg(&self, n: usize) -> Option<SqlType> {
        self.args.get(n).or(if self.variadic { self.args.last() } else { None }).copied()
    }

    fn takes(&self, given: &[SqlType]) -> bool {
        let count_fits = given.len() == self.args.len() || (self.variadic && given.len() >= self.args.len());
        count_fits
            && given.iter().enumerate().all(|(n, ty)| {
                self.arg(n).is_some_and(|wanted| {
                    cast::context(*ty, wanted) == Some(cast::Context::Implicit) || any(wanted)
                })
            })
    }

    /// Smaller is better: arguments that must be converted, then those not converted to a preferred type.
    fn distance(&self, given: &[SqlType]) -> (usize, usize) {
        let mut distance = (0, 0);
        for (n, ty) in given.iter().enumerate() {
            let Some(wanted) = self.arg(n) else { continue };
            if wanted.oid != ty.oid {
                distance.0 += 1;
                let preferred = matches!(wanted.oid, oids::TEXT | oids::FLOAT8 | oids::TIMESTAMPTZ);
                let is_string_literal = ty.oid == oids::UNKNOWN && wanted.oid == oids::TEXT;
                distance.1 += usize::from(!(preferred || is_string_literal));
            }
        }
        distance
    }

    /// The types that the arguments are converted to.
    pub(crate) fn wanted(&self, given: &[SqlType]) -> Vec<SqlType> {
        given
            .iter()
            .enumerate()
            .map(|(n, ty)| match self.arg(n) {
                Some(wanted) if !any(wanted) => wanted,
                _ if ty.oid == oids::UNKNOWN => SqlType::TEXT,
                _ => *ty,
            })
            .collect()
    }
}

/// `"any"`: taken as it comes.
fn any(ty: SqlType) -> bool {
    ty.oid == oids::VOID
}

/// The function that a call means.
pub(crate) fn find(name: &str, given: &[SqlType]) -> Option<&'static Declared> {
    all().filter(|d| d.function.name == name && d.takes(given)).min_by_key(|d| d.distance(given))
}

/// True if there is any function of this name.
pub(crate) fn exists(name: &str) -> bool {
    all().any(|d| d.function.name == name)
}

/// The types of a function's arguments; `None` for one that has no declaration.
pub(crate) fn declaration(function: &Function) -> Option<&'static Declared> {
    all().find(|d| std::ptr::eq(&d.function, function))
}

/// `42883`, with the types of the arguments as they are shown.
pub(crate) fn undefined(name: &str, given: &str) -> SqlError {
    let message = format!("function {name}({given}) does not exist");
    SqlError::new(sqlstate::UNDEFINED_FUNCTION, message).hint(
        "No function matches the given name and argument types. You might need to add explicit type casts.",
    )
}

/// The common type of several expressions (CASE, COALESCE, VALUES, UNION ...; P15 10.5), `None` when there is none.
pub(crate) fn common_type(types: &[SqlType]) -> Option<SqlType> {
    let known: Vec<SqlType> = types.iter().copied().filter(|ty| ty.oid != oids::UNKNOWN).collect();
    let Some(first) = known.first() else { return Some(SqlType::TEXT) };
    if known.iter().all(|ty| ty.oid == first.oid) {
        // A literal has no modifier.
        let same = types.iter().all(|ty| ty.typmod == first.typmod);
        return Some(SqlType { typmod: if same { first.typmod } else { -1 }, ..*first });
    }
    if known.iter().any(|ty| ty.class() != first.class() || ty.class() == TypeClass::Other) {
        return None;
    }
    let mut best = SqlType { typmod: -1, ..*first };
    for ty in &known[1..] {
        let forward = cast::context(best, *ty) == Some(cast::Context::Implicit);
        let back = cast::context(*ty, best) == Some(cast::Context::Implicit);
        let best_is_preferred = matches!(best.oid, oids::TEXT | oids::FLOAT8 | oids::TIMESTAMPTZ);
        if forward && !back && !best_is_preferred {
            best = SqlType { typmod: -1, ..*ty };
        } else if !back {
            return None;
        }
    }
    Some(best)
}
