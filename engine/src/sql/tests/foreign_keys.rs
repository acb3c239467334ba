//! FOREIGN KEY where one session shows little: the fields of errors, COPY, long chains, engines to come.

use super::*;

async fn two() -> Client {
    let mut c = fresh().await;
    c.run(&[
        "create table p (id int primary key, name text)",
        "create table c (id int, p int constraint of_p references p on update cascade)",
        "insert into p values (1, 'a'), (2, 'b')",
        "insert into c values (1, 1)",
    ])
    .await;
    c
}

#[tokio::test]
async fn errors_say_which_key_is_missing_or_needed() {
    let mut c = two().await;
    let missing = c.err("insert into c values (2, 3)").await;
    assert_eq!(missing.sqlstate, "23503");
    assert_eq!(missing.message, "insert or update on table \"c\" violates foreign key constraint \"of_p\"");
    assert_eq!(missing.detail.as_deref(), Some("Key (p)=(3) is not present in table \"p\"."));
    assert_eq!((missing.table.as_deref(), missing.constraint.as_deref()), (Some("c"), Some("of_p")));
    let needed = c.err("delete from p").await;
    let message = "update or delete on table \"p\" violates foreign key constraint \"of_p\" on table \"c\"";
    assert_eq!((needed.sqlstate, needed.message.as_str()), ("23503", message));
    assert_eq!(needed.detail.as_deref(), Some("Key (id)=(1) is still referenced from table \"c\"."));
    assert_eq!((needed.table.as_deref(), needed.constraint.as_deref()), (Some("c"), Some("of_p")));
    let depends = c.err("drop table p").await;
    assert_eq!(depends.detail.as_deref(), Some("constraint of_p on table c depends on table p"));
    assert_eq!(depends.hint.as_deref(), Some("Use DROP ... CASCADE to drop the dependent objects too."));
    let referred = c.err("truncate p").await;
    assert_eq!(referred.detail.as_deref(), Some("Table \"c\" references \"p\"."));
    c.sql("drop table p cascade").await;
    assert_eq!(c.notices, ["drop cascades to constraint of_p on table c"]);
    c.sql("insert into c values (2, 3)").await;
}

#[tokio::test]
async fn copy_asks_for_its_keys_at_the_end() {
    let mut c = two().await;
    let error = c.copy("copy c from stdin", &[&[Some("2"), Some("2")], &[Some("3"), Some("3")]]).await;
    assert_eq!(error.unwrap_err().constraint.as_deref(), Some("of_p"));
    assert_eq!(c.copy("copy c from stdin", &[&[Some("2"), Some("2")], &[Some("3"), None]]).await.unwrap(), 2);
    c.sql("create table tree (id int primary key, up int references tree)").await;
    let rows: &[&[Option<&str>]] = &[&[Some("1"), Some("2")], &[Some("2"), Some("1")]];
    assert_eq!(c.copy("copy tree from stdin", rows).await.unwrap(), 2);
    assert_eq!(c.sql("select * from c order by id").await, "1|1\n2|2\n3|-");
}

#[tokio::test]
async fn the_next_engine_knows_them() {
    let store = MemoryStore::new();
    let mut c = open(&store).await;
    c.run(&[
        "create table p (a int, b int, unique (b, a))",
        "create table c (x int, y int)",
        "alter table c add foreign key (x, y) references p (a, b) match full on delete set null on update cascade",
        "insert into p values (1, 2)",
        "insert into c values (1, 2)",
    ])
    .await;
    let mut next = open(&store.crash()).await;
    assert_eq!(next.err("insert into c values (2, 1)").await.constraint.as_deref(), Some("c_x_y_fkey"));
    assert_eq!(next.err("insert into c values (1, null)").await.sqlstate, "23503");
    next.check(&[
        ("update p set a = 5", "UPDATE 1"),
        ("select * from c", "5|2"),
        ("delete from p", "DELETE 1"),
        ("select * from c", "-|-"),
        ("select conkey, confkey, confupdtype, confdeltype, confmatchtype from pg_constraint where contype = 'f'",
            "1 2|1 2|c|n|f"),
        ("alter table c drop constraint c_x_y_fkey", "ALTER TABLE"),
        ("insert into c values (2, 1)", "INSERT 0 1"),
        ("drop table p", "DROP TABLE"),
    ])
    .await;
}

#[tokio::test]
async fn a_long_chain_goes_as_a_whole() {
    let mut c = fresh().await;
    c.run(&[
        "create table chain (id int primary key, up int references chain on delete cascade on update cascade)",
        "create index on chain (up)",
        "insert into chain select n, n - 1 from generate_series(1, 20000) as n where n > 1 union all select 1, 1",
        "delete from chain where id = 1",
    ])
    .await;
    assert_eq!(c.sql("select count(*) from chain").await, "0");
}

#[tokio::test]
async fn a_plan_made_before_the_constraint_asks_it() {
    let mut c = fresh().await;
    c.run(&[
        "create table p (id int primary key)",
        "create table c (p int)",
        "insert into p values (1), (2)",
    ])
    .await;
    let insert = c.prepare("insert into c values ($1)", &[]).await.unwrap();
    let delete = c.prepare("delete from p where id = $1", &[]).await.unwrap();
    c.execute(&insert, vec![Datum::Int4(1)]).await.unwrap();
    c.sql("alter table c add foreign key (p) references p").await;
    assert_eq!(c.execute(&insert, vec![Datum::Int4(3)]).await.unwrap_err().sqlstate, "23503");
    assert_eq!(c.execute(&delete, vec![Datum::Int4(1)]).await.unwrap_err().sqlstate, "23503");
    assert_eq!(c.execute(&delete, vec![Datum::Int4(2)]).await.unwrap().1, "DELETE 1");
    c.begin(Isolation::ReadCommitted);
    c.sql("alter table c drop constraint c_p_fkey").await;
    c.rollback();
    assert_eq!(c.execute(&insert, vec![Datum::Int4(3)]).await.unwrap_err().sqlstate, "23503");
}
