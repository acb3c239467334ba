//! Changing one entry.

use super::build::{Plan, build};
use super::change::{entry_size, insert, remove, replace};
use super::descend::Target;
use super::node::Node;
use super::split::Incoming;
use super::{Edit, MAX_KEY, Tree, max_value};
use crate::buffer::{Step, StorageError};
use crate::mtr::{MiniTxn, PageHandle};

impl Tree {
    /// A new, empty tree.
    pub fn create(mtr: &mut MiniTxn<'_>) -> Step<Tree> {
        let h = mtr.allocate()?;
        let root = mtr.page(h);
        let plan = Plan { root, level: 0, low: &[], high: None, right: None };
        build(mtr, h, &plan, std::iter::empty());
        Ok(Tree { root })
    }

    /// Changes the entry of `key` under the exclusive latch of its leaf, which is held until the MTR commits. `f` sees the
    /// current value and says what becomes of it; it may latch and stage pages that are not of this tree.
    ///
    /// # Errors
    /// [`StorageError::KeyTooLarge`] over [`MAX_KEY`], [`StorageError::ValueTooLarge`] over [`max_value`].
    pub fn edit<R>(
        &self,
        mtr: &mut MiniTxn<'_>,
        key: &[u8],
        f: impl FnOnce(Option<&[u8]>, &mut MiniTxn<'_>) -> Step<(Edit, R)>,
    ) -> Step<R> {
        if key.len() > MAX_KEY {
            let (len, limit) = (key.len(), MAX_KEY);
            return Err(StorageError::KeyTooLarge { len, limit }.into());
        }
        let leaf = self.find_to_change(mtr, Target::At(key), 0, true)?;
        let mut old = mtr.take_scratch();
        let node = Node(mtr.bytes(leaf));
        let found = node.search(key);
        if let Ok(n) = found {
            old.extend_from_slice(node.value(n));
        }
        let (edit, answer) = f(found.is_ok().then_some(&old[..]), mtr)?;
        mtr.return_scratch(old);
        match (edit, found) {
            (Edit::Keep, _) | (Edit::Remove, Err(_)) => {}
            (Edit::Remove, Ok(n)) => self.remove_entry(mtr, leaf, n)?,
            (Edit::Put(value), found) => self.put_entry(mtr, leaf, key, &value, found)?,
        }
        Ok(answer)
    }

    fn put_entry(
        &self,
        mtr: &mut MiniTxn<'_>,
        leaf: PageHandle,
        key: &[u8],
        value: &[u8],
        found: Result<usize, usize>,
    ) -> Step<()> {
        let limit = max_value(key.len());
        if value.len() > limit {
            let len = value.len();
            return Err(StorageError::ValueTooLarge { len, limit }.into());
        }
        let node = Node(mtr.bytes(leaf));
        let suffix = key.get(node.prefix_len()..).ok_or_else(|| self.damaged())?;
        let done = match found {
            Ok(n) => replace(mtr, leaf, n, value),
            Err(n) => {
                let fits = entry_size(suffix.len(), value.len()) <= node.room_at(n);
                if fits {
                    insert(mtr, leaf, n, suffix, value);
                }
                fits
            }
        };
        if done {
            return Ok(());
        }
        let incoming = Incoming {
            at: found.unwrap_or_else(|n| n),
            replaces: found.is_ok(),
            key: key.to_vec(),
            value: value.to_vec(),
        };
        self.split(mtr, leaf, incoming)
    }

    fn remove_entry(&self, mtr: &mut MiniTxn<'_>, leaf: PageHandle, n: usize) -> Step<()> {
        if Node(mtr.bytes(leaf)).count() == 1 && self.unlink(mtr, leaf)? {
            return Ok(());
        }
        remove(mtr, leaf, n);
        Ok(())
    }
}
