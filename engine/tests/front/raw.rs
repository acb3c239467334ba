//! A client that sends bytes and reads messages.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::in_time;

/// A message of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) tag: char,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// A field of an ErrorResponse or NoticeResponse.
    pub(crate) fn field(&self, code: char) -> Option<String> {
        self.body
            .split(|b| *b == 0)
            .find(|part| part.first() == Some(&(code as u8)))
            .map(|part| String::from_utf8_lossy(&part[1..]).into_owned())
    }

    /// The body as text without its final zero.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim_end_matches('\0').to_owned()
    }
}

pub(crate) struct Raw {
    stream: TcpStream,
    input: Vec<u8>,
}

fn framed(tag: Option<u8>, body: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = tag.into_iter().collect();
    bytes.extend(((body.len() + 4) as u32).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A message with a type.
pub(crate) fn message(tag: char, body: &[u8]) -> Vec<u8> {
    framed(Some(tag as u8), body)
}

fn text(parts: &[&str]) -> Vec<u8> {
    parts.iter().flat_map(|part| part.bytes().chain([0])).collect()
}

pub(crate) fn query(sql: &str) -> Vec<u8> {
    message('Q', &text(&[sql]))
}

pub(crate) fn parse(name: &str, sql: &str) -> Vec<u8> {
    let mut body = text(&[name, sql]);
    body.extend([0, 0]);
    message('P', &body)
}

/// Bind with text parameters and text results.
pub(crate) fn bind(portal: &str, statement: &str, parameters: &[&str]) -> Vec<u8> {
    let mut body = text(&[portal, statement]);
    body.extend([0, 0]);
    body.extend((parameters.len() as u16).to_be_bytes());
    for parameter in parameters {
        body.extend((parameter.len() as u32).to_be_bytes());
        body.extend(parameter.bytes());
    }
    body.extend([0, 0]);
    message('B', &body)
}

pub(crate) fn describe(kind: char, name: &str) -> Vec<u8> {
    let mut body = vec![kind as u8];
    body.extend(text(&[name]));
    message('D', &body)
}

pub(crate) fn execute(portal: &str, rows: u32) -> Vec<u8> {
    let mut body = text(&[portal]);
    body.extend(rows.to_be_bytes());
    message('E', &body)
}

pub(crate) fn sync() -> Vec<u8> {
    message('S', &[])
}

impl Raw {
    /// A socket without a session.
    pub(crate) async fn connect(addr: SocketAddr) -> Raw {
        Raw { stream: TcpStream::connect(addr).await.expect("connected"), input: Vec::new() }
    }

    /// A session; what the server said up to ReadyForQuery.
    pub(crate) async fn session(addr: SocketAddr, more: &[(&str, &str)]) -> (Raw, Vec<Message>) {
        let mut raw = Raw::connect(addr).await;
        raw.startup(196_608, more).await;
        let greeting = raw.until_ready().await;
        (raw, greeting)
    }

    pub(crate) async fn startup(&mut self, version: u32, more: &[(&str, &str)]) {
        let mut body = version.to_be_bytes().to_vec();
        body.extend(text(&["user", "tester", "database", "test"]));
        for (name, value) in more {
            body.extend(text(&[name, value]));
        }
        body.push(0);
        self.send(&framed(None, &body)).await;
    }

    /// A packet without a type.
    pub(crate) async fn packet(&mut self, words: &[u32]) {
        let body: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        self.send(&framed(None, &body)).await;
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("sent");
    }

    pub(crate) async fn byte(&mut self) -> u8 {
        in_time(self.stream.read_u8()).await.expect("a byte")
    }

    /// The next message; `None` when the server has closed.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(found) = self.take() {
                return Some(found);
            }
            let mut piece = [0; 8192];
            match in_time(self.stream.read(&mut piece)).await {
                Ok(0) | Err(_) => return None,
                Ok(n) => self.input.extend(&piece[..n]),
            }
        }
    }

    fn take(&mut self) -> Option<Message> {
        let head = self.input.get(..5)?;
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if self.input.len() < len + 1 {
            return None;
        }
        let whole: Vec<u8> = self.input.drain(..=len).collect();
        Some(Message { tag: char::from(whole[0]), body: whole[5..].to_vec() })
    }

    /// Messages up to and with ReadyForQuery.
    pub(crate) async fn until_ready(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(message) = self.next().await {
            let is_ready = message.tag == 'Z';
            messages.push(message);
            if is_ready {
                return messages;
            }
        }
        panic!("the server closed after {messages:?}");
    }

    /// Reads up to ReadyForQuery; how many reads that took.
    pub(crate) async fn pieces_until_ready(&mut self) -> usize {
        let mut pieces = 0;
        loop {
            while let Some(message) = self.take() {
                if message.tag == 'Z' {
                    return pieces;
                }
            }
            let mut piece = [0; 8192];
            let read = in_time(self.stream.read(&mut piece)).await.expect("read");
            assert!(read > 0, "the server closed");
            self.input.extend(&piece[..read]);
            pieces += 1;
        }
    }

    /// Messages until the server closes.
    pub(crate) async fn until_closed(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(message) = self.next().await {
            messages.push(message);
        }
        messages
    }

    /// Sends and reads up to ReadyForQuery; the types of what came, such as `1CZ`.
    pub(crate) async fn ask(&mut self, bytes: &[u8]) -> (String, Vec<Message>) {
        self.send(bytes).await;
        let messages = self.until_ready().await;
        (messages.iter().map(|m| m.tag).collect(), messages)
    }
}
