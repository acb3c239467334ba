//! How much data there is. What the standard fixes can be made smaller; the report then says so.

use std::fmt;

use crate::BenchArgs;

/// Districts of a warehouse.
pub(super) const DISTRICTS: i32 = 10;
/// Items (clause 1.2.1).
const ITEMS: u32 = 100_000;
/// Customers and first orders of a district (clause 1.2.1).
const CUSTOMERS: u32 = 3_000;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) warehouses: i32,
    /// Of all warehouses: items are the same everywhere.
    pub(super) items: i32,
    /// Of each district; as many orders it has at first.
    pub(super) customers: i32,
}

impl Size {
    pub(super) fn of(args: &BenchArgs) -> Size {
        // Too few to draw fifteen distinct items or a middle customer from would be another load.
        let at_least = |given: Option<u32>, full: u32, least: u32| given.unwrap_or(full).clamp(least, full);
        Size {
            warehouses: args.warehouses.clamp(1, 10_000) as i32,
            items: at_least(args.items, ITEMS, 100) as i32,
            customers: at_least(args.customers, CUSTOMERS, 10) as i32,
        }
    }

    /// Orders of a district that nobody has delivered at first: the newest three tenths (clause 4.3.3.1).
    pub(super) fn undelivered(self) -> i32 {
        self.customers * 3 / 10
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Size { warehouses, items, customers } = *self;
        write!(f, "{warehouses} warehouse{}", if warehouses == 1 { "" } else { "s" })?;
        if (items, customers) != (ITEMS as i32, CUSTOMERS as i32) {
            write!(f, " (reduced: {items} items, {customers} customers a district)")?;
        }
        Ok(())
    }
}
