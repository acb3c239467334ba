//! Types that users made, through real clients: what they are described as, and how their values travel in both formats.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

use crate::harness::Front;
use crate::raw::{Raw, bind, describe, execute, parse, sync};

/// A label as the binary format has it.
#[derive(Debug, PartialEq)]
struct Label(String);

impl ToSql for Label {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), Kind::Enum(_))
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Label {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Label, Box<dyn Error + Sync + Send>> {
        Ok(Label(std::str::from_utf8(raw)?.to_owned()))
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), Kind::Enum(_))
    }
}

fn label(name: &str) -> Label {
    Label(name.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_knows_an_enum_by_its_oid_and_its_labels() {
    let front = Front::start().await;
    let client = front.connect().await;
    client.batch_execute("create type mood as enum ('sad', 'happy')").await.unwrap();
    client.batch_execute("create table t (id int primary key, m mood)").await.unwrap();
    client.batch_execute("alter type mood add value 'ok' before 'happy'").await.unwrap();
    let insert = client.prepare("insert into t values ($1, $2)").await.unwrap();
    let ty = &insert.params()[1];
    assert_eq!((ty.name(), ty.schema()), ("mood", "public"));
    let labels = ["sad", "ok", "happy"].map(str::to_owned).to_vec();
    assert_eq!(*ty.kind(), Kind::Enum(labels));
    for (id, name) in ["happy", "ok", "sad"].into_iter().enumerate() {
        client.execute(&insert, &[&(id as i32), &label(name)]).await.unwrap();
    }
    let error = client.execute(&insert, &[&9i32, &label("angry")]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INVALID_TEXT_REPRESENTATION));
    let rows = client.query("select m, id from t where m >= $1 order by m", &[&label("ok")]).await.unwrap();
    let got: Vec<(Label, i32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(got, [(label("ok"), 1), (label("happy"), 0)]);
    assert_eq!(rows[0].columns()[0].type_().oid(), ty.oid());

    // A statement that is older than a label takes it.
    let other = front.connect().await;
    other.batch_execute("alter type mood add value 'angry' before 'sad'").await.unwrap();
    client.execute(&insert, &[&9i32, &label("angry")]).await.unwrap();
    let least: Label = other.query_one("select min(m) from t", &[]).await.unwrap().get(0);
    assert_eq!(least, label("angry"));
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_travel_as_text_too() {
    let front = Front::start().await;
    let client = front.connect().await;
    client.batch_execute("create type mood as enum ('sad', 'happy')").await.unwrap();
    let (mut raw, _) = Raw::session(front.addr, &[]).await;
    let oid = client.query_one("select oid from pg_type where typname = 'mood'", &[]).await.unwrap();
    let oid: u32 = oid.get(0);
    raw.send(
        &[
            parse("", "select $1::mood, $1 < 'happy'"),
            describe('S', ""),
            bind("", "", &["sad"]),
            execute("", 0),
            sync(),
        ]
        .concat(),
    )
    .await;
    let answer = raw.until_ready().await;
    let parameters = answer.iter().find(|m| m.tag == 't').expect("a ParameterDescription");
    assert_eq!(parameters.body[2..6], oid.to_be_bytes());
    let row = answer.iter().find(|m| m.tag == 'D').expect("a DataRow");
    assert_eq!(row.body, b"\0\x02\0\0\0\x03sad\0\0\0\x01t");
    let columns = answer.iter().find(|m| m.tag == 'T').expect("a RowDescription");
    let of_type = &columns.body[2 + "mood\0".len() + 6..][..6];
    assert_eq!(of_type, [&oid.to_be_bytes()[..], &4u16.to_be_bytes()].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_reads_and_writes_labels() {
    let front = Front::start().await;
    let client = front.connect().await;
    client.batch_execute("create type mood as enum ('sad', 'happy')").await.unwrap();
    client.batch_execute("create table t (id int, m mood)").await.unwrap();
    let sink = client.copy_in::<_, bytes::Bytes>("copy t from stdin").await.unwrap();
    let mut sink = std::pin::pin!(sink);
    crate::harness::feed(sink.as_mut(), &["1\thappy\n2\tsad\n3\t\\N\n"]).await;
    assert_eq!(sink.as_mut().finish().await.unwrap(), 3);
    let sink = client.copy_in::<_, bytes::Bytes>("copy t from stdin").await.unwrap();
    let mut sink = std::pin::pin!(sink);
    crate::harness::feed(sink.as_mut(), &["4\tangry\n"]).await;
    let error = sink.as_mut().finish().await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INVALID_TEXT_REPRESENTATION));
    let rows = client.simple_query("select id, m from t order by m").await.unwrap();
    let ids = rows.iter().filter_map(|row| match row {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    assert_eq!(ids.collect::<Vec<_>>(), ["2", "1", "3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_is_described_as_its_base_type() {
    let front = Front::start().await;
    let client = front.connect().await;
    client.batch_execute("create domain posint as int check (value > 0)").await.unwrap();
    client.batch_execute("create table t (p posint, q varchar(7))").await.unwrap();
    let insert = client.prepare("insert into t values ($1, 'x')").await.unwrap();
    assert_eq!(insert.params()[0], Type::INT4);
    assert_eq!(client.execute(&insert, &[&3i32]).await.unwrap(), 1);
    let error = client.execute(&insert, &[&0i32]).await.unwrap_err();
    let error = error.as_db_error().expect("an error of the server");
    assert_eq!(error.code(), &SqlState::CHECK_VIOLATION);
    assert_eq!((error.datatype(), error.constraint()), (Some("posint"), Some("posint_check")));
    let row = client.query_one("select p, $1::posint from t", &[&4i32]).await.unwrap();
    assert_eq!(row.columns()[0].type_(), &Type::INT4);
    assert_eq!((row.get::<_, i32>(0), row.get::<_, i32>(1)), (3, 4));
}
