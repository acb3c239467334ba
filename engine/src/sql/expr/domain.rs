//! Values of domains.

use super::{EvalCx, Expr};
use crate::types::{Datum, SqlError, SqlResult, sqlstate};

/// What a value must meet to be one of a domain.
#[derive(Debug)]
pub(crate) struct DomainRules {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    /// Its name as messages spell it.
    pub(crate) shown: String,
    pub(crate) not_null: bool,
    /// By name, conditions over the value as the only column.
    pub(crate) checks: Vec<(String, Expr)>,
}

impl DomainRules {
    /// True when every value meets them.
    pub(crate) fn is_empty(&self) -> bool {
        !self.not_null && self.checks.is_empty()
    }

    /// 23502 or 23514 for a value that does not meet them; what is neither true nor false forbids nothing.
    pub(crate) fn ask(&self, value: &Datum, cx: &EvalCx<'_>) -> SqlResult<()> {
        if self.not_null && value.is_null() {
            let message = format!("domain {} does not allow null values", self.shown);
            return Err(self.of_domain(SqlError::new(sqlstate::NOT_NULL_VIOLATION, message)));
        }
        for (name, condition) in &self.checks {
            if matches!(*condition.eval(std::slice::from_ref(value), cx)?, Datum::Bool(false)) {
                let message = format!("value for domain {} violates check constraint \"{name}\"", self.shown);
                let error = SqlError::new(sqlstate::CHECK_VIOLATION, message);
                return Err(self.of_domain(error).constraint(name.clone()));
            }
        }
        Ok(())
    }

    fn of_domain(&self, error: SqlError) -> SqlError {
        error.schema(self.schema.clone()).data_type(self.name.clone())
    }
}
