use super::*;
use crate::sql::statement::{CopyFormat, IsolationLevel};

fn kind(sql: &str) -> StatementKind {
    let mut all = parse(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    assert_eq!(all.len(), 1, "{sql}");
    all.remove(0).kind
}

fn error(sql: &str) -> SqlError {
    parse(sql).expect_err(sql)
}

#[test]
fn what_pgbench_and_sysbench_send_is_understood() {
    for sql in [
        "drop table if exists pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers",
        "create table pgbench_accounts(aid int not null,bid int,abalance int,filler char(84)) with (fillfactor=100)",
        "truncate table pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers",
        "alter table pgbench_accounts add primary key (aid)",
        "alter table t add constraint u unique (a, b)",
        "CREATE INDEX k_1 ON sbtest1(k)",
        "CREATE TABLE sbtest1(id SERIAL, k INTEGER DEFAULT '0' NOT NULL, c CHAR(120) DEFAULT '' NOT NULL, PRIMARY KEY (id))",
    ] {
        assert!(matches!(kind(sql), StatementKind::Ddl), "{sql}");
    }
    let StatementKind::CopyFrom(copy) = kind("copy pgbench_accounts from stdin with (freeze on)") else {
        panic!("not a copy")
    };
    assert_eq!((copy.format, copy.delimiter, copy.null.as_str()), (CopyFormat::Text, b'\t', "\\N"));
    for sql in [
        "vacuum analyze pgbench_branches",
        "vacuum",
        "VACUUM (ANALYZE, VERBOSE false) t",
        "analyze t(a,b), s.u",
    ] {
        assert!(matches!(kind(sql), StatementKind::Vacuum(_)), "{sql}");
    }
    assert!(matches!(kind("END;"), StatementKind::Commit { chain: false }));
    assert!(matches!(
        kind("insert into t(a) select aid from generate_series(1,100000) as aid"),
        StatementKind::Insert
    ));
}

#[test]
fn transaction_statements_carry_their_modes() {
    let StatementKind::Begin(modes) = kind("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY") else {
        panic!()
    };
    assert_eq!(modes.isolation, Some(IsolationLevel::RepeatableRead));
    assert_eq!(modes.read_only, Some(true));
    assert!(matches!(
        kind("start transaction isolation level serializable deferrable"),
        StatementKind::Begin(_)
    ));
    assert!(matches!(kind("ROLLBACK TO SAVEPOINT a"), StatementKind::RollbackTo(n) if n == "a"));
    assert!(matches!(kind("rollback and chain"), StatementKind::Rollback { chain: true }));
    assert!(matches!(kind("release savepoint \"A b\""), StatementKind::Release(n) if n == "A b"));
}

#[test]
fn settings() {
    let StatementKind::Set { name, value, local } = kind("SET LOCAL search_path TO a, 'B'") else { panic!() };
    assert_eq!((name.as_str(), value.as_deref(), local), ("search_path", Some("a, B"), true));
    assert!(matches!(kind("set time zone 'UTC'"), StatementKind::Set { name, .. } if name == "timezone"));
    assert!(
        matches!(kind("set extra_float_digits = 3"), StatementKind::Set { value: Some(v), .. } if v == "3")
    );
    assert!(
        matches!(kind("show transaction isolation level"), StatementKind::Show(n) if n == "transaction_isolation")
    );
    assert!(matches!(kind("RESET ALL"), StatementKind::Reset(None)));
    assert!(matches!(kind("set x to default"), StatementKind::Set { value: None, .. }));
}

#[test]
fn cursors_and_prepared_statements() {
    let StatementKind::Prepare { name, types, .. } = kind("PREPARE p (int, text) AS SELECT $1, $2") else {
        panic!()
    };
    let types: Vec<String> = types.iter().map(ToString::to_string).collect();
    assert_eq!((name.as_str(), types.join(" ")), ("p", "INT TEXT".to_owned()));
    assert!(
        matches!(kind("execute p(1, (2+3))"), StatementKind::Execute { parameters: Some(p), .. } if &*p.text == "SELECT 1, (2+3)")
    );
    assert!(matches!(
        kind("declare c cursor with hold for select 1"),
        StatementKind::Declare { hold: true, .. }
    ));
    assert!(matches!(kind("fetch forward 10 from c"), StatementKind::Fetch { count: Some(10), .. }));
    assert!(matches!(kind("fetch all in c"), StatementKind::Fetch { count: None, .. }));
    assert!(matches!(kind("close all"), StatementKind::Close(None)));
}

#[test]
fn copy_in_both_directions() {
    let StatementKind::CopyFrom(c) =
        kind("COPY s.t (a, \"B\") FROM STDIN WITH (FORMAT csv, HEADER, NULL 'x')")
    else {
        panic!()
    };
    assert_eq!((c.format, c.header, c.null.as_str(), c.delimiter), (CopyFormat::Csv, true, "x", b','));
    assert_eq!(c.columns, ["a", "B"]);
    assert!(matches!(kind("copy (select 1 as \")\") to stdout csv"), StatementKind::CopyTo(_)));
    assert_eq!(error("copy t from '/etc/passwd'").sqlstate, sqlstate::FEATURE_NOT_SUPPORTED);
}

#[test]
fn syntax_errors_name_the_place() {
    let e = error("select 1; selec 2");
    assert_eq!(e.sqlstate, sqlstate::SYNTAX_ERROR);
    assert_eq!(e.message, "syntax error at or near \"selec\"");
    assert_eq!(e.position, Some(11));
    assert_eq!(error("select (1").message, "syntax error at end of input");
    assert_eq!(error("select 'open").sqlstate, sqlstate::SYNTAX_ERROR);
    assert_eq!(error("begin nonsense").message, "syntax error at or near \"nonsense\"");
    let deep = format!("select {}1{}", "(".repeat(5000), ")".repeat(5000));
    assert_eq!(error(&deep).sqlstate, sqlstate::STATEMENT_TOO_COMPLEX);
}

#[test]
fn nothing_is_an_empty_list() {
    assert!(parse("").unwrap().is_empty());
    assert!(parse(" ; -- x").unwrap().is_empty());
}

proptest::proptest! {
    #[test]
    fn no_text_panics(s in ".*") {
        let _ = parse(&s);
    }

    #[test]
    fn no_word_salad_panics(words in proptest::collection::vec(
        proptest::sample::select(vec!["select", "from", "(", ")", ",", "copy", "set", "fetch", "declare", "for", "1", "'a'",
            "\"b\"", ".", "=", "insert", "into", "values", "prepare", "as", "execute", "é", ";", "$1", "vacuum", "in"]), 0..14)) {
        let _ = parse(&words.join(" "));
    }
}
