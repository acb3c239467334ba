//! The catalog as transactions see it: definitions made, changed, rolled back and loaded again.

use sextant_volume::LogStore;
use sextant_volume::memory::MemoryStore;

use super::system::SystemTable;
use super::*;
use crate::buffer::BufferPool;
use crate::space;
use crate::txn::Isolation;
use crate::types::key::KeyOrder;
use crate::types::{Datum, SqlType, sqlstate};

async fn open(store: Arc<dyn LogStore>) -> Catalog {
    let pool = BufferPool::new(store, 8 << 20).unwrap();
    space::format_if_new(&pool).await.unwrap();
    let system = TransactionSystem::open(pool).await.unwrap();
    Catalog::open(system).await.unwrap()
}

fn begin(catalog: &Catalog) -> Transaction {
    let mut txn = catalog.system.begin(Isolation::ReadCommitted);
    txn.begin_statement();
    txn
}

fn new_table(name: &str) -> NewTable {
    let column = |name: &str, ty| NewColumn {
        name: name.into(),
        ty,
        declared: None,
        not_null: true,
        default: Some("7".into()),
        generated: false,
        identity: None,
    };
    NewTable {
        namespace: PUBLIC,
        name: name.into(),
        columns: vec![column("a", SqlType::INT4), column("b", SqlType::VARCHAR.with_length(9))],
    }
}

fn new_index(name: &str) -> NewIndex {
    NewIndex {
        name: name.into(),
        unique: true,
        primary: true,
        constraint: true,
        timing: ConstraintTiming::Fixed,
        columns: vec![IndexColumn {
            source: KeySource::Column(0),
            ty: SqlType::INT4,
            order: KeyOrder::default(),
        }],
        predicate: None,
    }
}

async fn create(catalog: &Catalog, txn: &mut Transaction, name: &str) -> Arc<TableInfo> {
    let table = catalog.create_table(txn, new_table(name)).await.unwrap();
    catalog.create_index(txn, &table, new_index(&format!("{name}_pkey")), 1 << 20).await.unwrap()
}

async fn next(catalog: &Catalog, sequence: &SequenceInfo) -> SqlResult<i64> {
    loop {
        match catalog.sequences.take(sequence) {
            Some(value) => return Ok(value),
            None => catalog.sequences.refill(sequence).await?,
        }
    }
}

fn has(catalog: &Catalog, txn: Option<&mut Transaction>, name: &str) -> bool {
    catalog.view(txn).find(PUBLIC, name).is_some()
}

#[tokio::test]
async fn a_crash_keeps_what_was_committed_and_nothing_else() {
    let store = MemoryStore::new();
    let catalog = open(store.clone()).await;
    let mut txn = begin(&catalog);
    create(&catalog, &mut txn, "kept").await;
    txn.commit().await.unwrap();
    let mut open_txn = begin(&catalog);
    create(&catalog, &mut open_txn, "lost").await;

    let again = open(store.crash()).await;
    let view = again.view(None);
    assert!(view.find(PUBLIC, "lost").is_none());
    let Some(Relation::Table(table)) = view.find(PUBLIC, "kept") else { panic!("kept is gone") };
    assert_eq!(table.columns[1].ty, SqlType::VARCHAR.with_length(9));
    assert_eq!(table.columns[0].default.as_deref(), Some("7"));
    let key = table.primary_key().unwrap();
    assert_eq!((key.name.as_str(), key.unique, key.constraint), ("kept_pkey", true, true));
    assert!(table.oid >= FIRST_USER_OID);
    let mut txn = begin(&again);
    let fresh = create(&again, &mut txn, "fresh").await;
    assert!(fresh.oid > key.oid, "no OID is used twice");
}

#[tokio::test]
async fn a_transaction_sees_its_own_changes_and_others_see_them_at_commit() {
    let catalog = open(MemoryStore::new()).await;
    let before = catalog.version(None);
    let mut txn = begin(&catalog);
    create(&catalog, &mut txn, "t").await;
    assert!(has(&catalog, Some(&mut txn), "t"));
    assert!(!has(&catalog, None, "t"));
    assert_ne!(catalog.version(Some(&txn)), before);
    assert_eq!(catalog.version(None), before);
    txn.commit().await.unwrap();
    assert!(has(&catalog, None, "t"));
    assert_ne!(catalog.version(None), before);

    let mut txn = begin(&catalog);
    let table = catalog.view(None).find(PUBLIC, "t").cloned();
    let Some(Relation::Table(table)) = table else { panic!() };
    catalog.drop_table(&mut txn, &table).await.unwrap();
    assert!(!has(&catalog, Some(&mut txn), "t"));
    txn.rollback();
    assert!(has(&catalog, None, "t"));
    assert!(has(&catalog, None, "t_pkey"));
}

#[tokio::test]
async fn changes_of_several_transactions_join() {
    let catalog = open(MemoryStore::new()).await;
    let (mut one, mut two) = (begin(&catalog), begin(&catalog));
    create(&catalog, &mut one, "one").await;
    create(&catalog, &mut two, "two").await;
    one.commit().await.unwrap();
    assert!(has(&catalog, Some(&mut two), "one"), "an overlay stands on the newest committed state");
    two.commit().await.unwrap();
    assert!(has(&catalog, None, "one") && has(&catalog, None, "two"));
}

#[tokio::test]
async fn two_tables_of_one_name_meet_at_the_index() {
    let catalog = open(MemoryStore::new()).await;
    let mut one = begin(&catalog);
    create(&catalog, &mut one, "t").await;
    one.commit().await.unwrap();
    let mut two = begin(&catalog);
    let error = catalog.create_table(&mut two, new_table("t")).await.unwrap_err();
    assert_eq!(error.sqlstate, sqlstate::DUPLICATE_TABLE);
}

#[tokio::test]
async fn sequences_go_on_after_a_crash_and_do_not_roll_back() {
    let store = MemoryStore::new();
    let catalog = open(store.clone()).await;
    let mut txn = begin(&catalog);
    let new = NewSequence {
        namespace: PUBLIC,
        name: "s".into(),
        ty: SqlType::INT4,
        start: 1,
        increment: 1,
        min: 1,
        max: i64::from(i32::MAX),
        cycle: false,
    };
    let sequence = catalog.create_sequence(&mut txn, new).await.unwrap();
    txn.commit().await.unwrap();
    let mut values = Vec::new();
    for _ in 0..40 {
        values.push(next(&catalog, &sequence).await.unwrap());
    }
    assert_eq!(values, (1..=40).collect::<Vec<i64>>());
    let again = open(store.crash()).await;
    let after = next(&again, &sequence).await.unwrap();
    assert!((41..=65).contains(&after), "{after}");
    again.sequences.set(&sequence, Some(i64::from(i32::MAX))).await.unwrap();
    assert_eq!(next(&again, &sequence).await.unwrap(), i64::from(i32::MAX));
    assert_eq!(next(&again, &sequence).await.unwrap_err().sqlstate, sqlstate::SEQUENCE_LIMIT);
}

/// Takes a system table out of what the catalog lists.
async fn unlist(catalog: &Catalog, gone: &SystemTable) {
    let view = catalog.view(None);
    let mut txn = begin(catalog);
    let indexes: Vec<u32> = gone.indexes.iter().map(|index| index.oid).collect();
    let relations: Vec<u32> = indexes.iter().copied().chain([gone.oid]).collect();
    for (def, oids) in [
        (&system::PG_CLASS, &relations[..]),
        (&system::PG_ATTRIBUTE, &[gone.oid]),
        (&system::PG_INDEX, &indexes[..]),
    ] {
        let table = view.table(def.oid).unwrap();
        let index = table.indexes.iter().find(|index| index.oid == def.indexes[0].oid).unwrap();
        for oid in oids {
            let snapshot = txn.snapshot();
            let key = [Datum::Oid(*oid)];
            let found = relation::find(&catalog.system, &snapshot, table, index, &key).await.unwrap();
            assert!(!found.is_empty(), "{} lists {oid}", def.name);
            for (id, _) in found {
                assert!(relation::lock(&catalog.system, &mut txn, table, id).await.unwrap());
                catalog.system.delete(&mut txn, &table.store, id).await.unwrap();
            }
        }
    }
    txn.commit().await.unwrap();
}

#[tokio::test]
async fn a_volume_that_is_older_than_system_tables_is_given_them() {
    for older in 0..system::ADDED.len() {
        let store = MemoryStore::new();
        let catalog = open(store.clone()).await;
        for added in &system::ADDED[older..] {
            unlist(&catalog, added).await;
        }
        for _ in 0..2 {
            let again = open(store.crash()).await;
            let view = again.view(None);
            for def in system::ALL {
                let table = view.table(def.oid).unwrap();
                assert_eq!(table.columns.len(), def.columns.len(), "{}", def.name);
                assert_eq!(table.indexes.len(), def.indexes.len(), "{}", def.name);
            }
        }
    }
}

#[tokio::test]
async fn a_catalog_without_a_table_that_was_always_there_is_damaged() {
    for gone in [&system::PG_SEQUENCE, &system::PG_TYPE, &system::PG_CLASS] {
        let store = MemoryStore::new();
        unlist(&open(store.clone()).await, gone).await;
        let pool = BufferPool::new(store.crash(), 8 << 20).unwrap();
        let system = TransactionSystem::open(pool).await.unwrap();
        let error = Catalog::open(system).await.err().expect("it is damaged");
        assert_eq!(error.sqlstate, sqlstate::DATA_CORRUPTED, "{}", gone.name);
        assert!(error.message.contains(gone.name), "{}", error.message);
    }
}
