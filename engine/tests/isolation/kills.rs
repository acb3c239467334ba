//! Engines killed while their clients write: whatever was answered before is there for the next engine, each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::player::Stage;

const WRITERS: usize = 4;
const KILLS: usize = 30;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_answered_is_there_after_any_kill() {
    let stage = Arc::new(Stage::open().await);
    let setup = stage.connect().await;
    setup.batch_execute("create table t (w int, n int, primary key (w, n))").await.expect("a table");
    let answered: Arc<Vec<AtomicI64>> = Arc::new((0..WRITERS).map(|_| AtomicI64::new(0)).collect());
    let over = Arc::new(AtomicBool::new(false));
    let write = |w: usize| {
        let (stage, answered, over) = (stage.clone(), answered.clone(), over.clone());
        async move {
            let client = stage.connect().await;
            for n in 1.. {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let insert = format!("insert into t values ({w}, {n})");
                client.batch_execute(&insert).await.expect("a row is inserted");
                answered[w].store(n, Ordering::SeqCst);
            }
        }
    };
    let writers: Vec<_> = (0..WRITERS).map(|w| tokio::spawn(write(w))).collect();
    for _ in 0..KILLS {
        let before: Vec<i64> = answered.iter().map(|n| n.load(Ordering::SeqCst)).collect();
        let next = stage.after_kill().await;
        let client = next.connect().await;
        for (w, n) in before.into_iter().enumerate() {
            let count = format!("select count(*) from t where w = {w} and n <= {n}");
            let row = client.query_one(&count, &[]).await.expect("the table is there");
            assert_eq!(row.get::<_, i64>(0), n, "rows of writer {w}");
        }
    }
    over.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.expect("a writer ends well");
    }
}
