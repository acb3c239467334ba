//! Plans kept by the text of their statement, for simple queries and for Parse.
//!
//! A text is kept when it comes for the second time: a client that writes its values into the text (pgbench in simple
//! mode) sends every text once, and must not pay for keeping them. Whether a plan is still right is asked of the plan
//! itself (the catalog's version); a changed setting empties the cache, because names may now mean something else.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use super::portal::Statement;

const PLANS_MAX: usize = 256;
const TEXT_BYTES_MAX: usize = 8 * 1024;
const SEEN: usize = 256;

/// See the module.
pub(super) struct Plans {
    plans: HashMap<Box<str>, Arc<Statement>>,
    seen: Box<[u64; SEEN]>,
    hasher: RandomState,
    settings: u64,
}

impl Default for Plans {
    fn default() -> Plans {
        Plans { plans: HashMap::new(), seen: Box::new([0; SEEN]), hasher: RandomState::new(), settings: 0 }
    }
}

impl Plans {
    /// The plan kept for `sql` under these settings.
    pub(super) fn get(&mut self, sql: &str, settings: u64) -> Option<Arc<Statement>> {
        if self.settings != settings {
            self.settings = settings;
            self.plans.clear();
        }
        self.plans.get(sql).cloned()
    }

    /// Keeps a plan, if the text was seen before.
    pub(super) fn put(&mut self, sql: &str, plan: &Arc<Statement>) {
        if sql.len() > TEXT_BYTES_MAX {
            return;
        }
        let hash = self.hasher.hash_one(sql);
        let seen = &mut self.seen[hash as usize % SEEN];
        if *seen != hash {
            *seen = hash;
            return;
        }
        if self.plans.len() >= PLANS_MAX {
            // Simple and bounded: what is in use comes back at the next two executions.
            self.plans.clear();
        }
        self.plans.insert(sql.into(), Arc::clone(plan));
    }

    /// Forgets a plan that turned out stale, or all.
    pub(super) fn forget(&mut self, sql: &str) {
        self.plans.remove(sql);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.plans.clear();
    }
}
