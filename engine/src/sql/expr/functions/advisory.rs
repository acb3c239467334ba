//! pg_advisory_lock and its kin.
//!
//! A function cannot wait. One that would says what for and fails; whoever evaluates it waits and evaluates the row again
//! ([`crate::sql::exec`]). In a WHERE clause only the `try` functions and the unlocking ones are of use.

use super::{Declared, function};
use crate::sql::expr::{EvalCx, Wanted};
use crate::txn::{Advisory, Scope, SessionLocks};
use crate::types::{Datum, SqlError, SqlResult};

fn locks<'a>(cx: &'a EvalCx<'_>) -> SqlResult<&'a SessionLocks> {
    cx.ctx.locks().ok_or_else(|| SqlError::internal("advisory locks outside of a session"))
}

/// What the arguments mean: one bigint, or two integers.
fn wish(args: &[Datum], shared: bool, scope: Scope) -> Advisory {
    let n = |at: usize| args.get(at).and_then(Datum::as_i64).unwrap_or_default() as u64;
    let is_pair = args.len() > 1;
    let number = if is_pair { n(0) << 32 | (n(1) & 0xffff_ffff) } else { n(0) };
    Advisory { number, is_pair, shared, scope }
}

fn lock(cx: &EvalCx<'_>, wish: Advisory) -> SqlResult<Datum> {
    if locks(cx)?.try_lock(wish) {
        return Ok(Datum::text(""));
    }
    *cx.wanted.borrow_mut() = Some(Wanted::Lock(wish));
    Err(SqlError::unsupported("waiting for an advisory lock in this place"))
}

fn try_lock(cx: &EvalCx<'_>, wish: Advisory) -> SqlResult<Datum> {
    Ok(Datum::Bool(locks(cx)?.try_lock(wish)))
}

fn unlock(cx: &EvalCx<'_>, wish: Advisory) -> SqlResult<Datum> {
    Ok(Datum::Bool(locks(cx)?.unlock(wish)))
}

fn unlock_all(cx: &EvalCx<'_>) -> SqlResult<Datum> {
    locks(cx)?.unlock_all();
    Ok(Datum::text(""))
}

/// A function on one bigint and the same on two integers.
macro_rules! both {
    ($name:literal -> $result:ident, $run:ident, $shared:literal, $scope:ident) => {
        [
            function!($name, [INT8] -> $result, |cx, a| $run(cx, wish(a, $shared, Scope::$scope))),
            function!($name, [INT4, INT4] -> $result, |cx, a| $run(cx, wish(a, $shared, Scope::$scope))),
        ]
    };
}

pub(super) static ALL: &[[Declared; 2]] = &[
    both!("pg_advisory_lock" -> VOID, lock, false, Session),
    both!("pg_advisory_lock_shared" -> VOID, lock, true, Session),
    both!("pg_advisory_xact_lock" -> VOID, lock, false, Transaction),
    both!("pg_advisory_xact_lock_shared" -> VOID, lock, true, Transaction),
    both!("pg_try_advisory_lock" -> BOOL, try_lock, false, Session),
    both!("pg_try_advisory_lock_shared" -> BOOL, try_lock, true, Session),
    both!("pg_try_advisory_xact_lock" -> BOOL, try_lock, false, Transaction),
    both!("pg_try_advisory_xact_lock_shared" -> BOOL, try_lock, true, Transaction),
    both!("pg_advisory_unlock" -> BOOL, unlock, false, Session),
    both!("pg_advisory_unlock_shared" -> BOOL, unlock, true, Session),
];

pub(super) static UNLOCK_ALL: &[Declared] =
    &[function!("pg_advisory_unlock_all", [] -> VOID, |cx, _| unlock_all(cx))];

/// True for these functions: they are called once for each row.
pub(super) fn is_one(name: &str) -> bool {
    name.starts_with("pg_advisory_") || name.starts_with("pg_try_advisory_")
}
