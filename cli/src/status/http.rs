//! Reads `/health`: one GET over a connection of its own.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest answer that is read. Bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// What `/health` at `host:port` says, whatever its status code; the reason when it says nothing usable.
pub(crate) async fn health(address: &str, patience: Duration) -> Result<serde_json::Value, String> {
    let answer = timeout(patience, get(address, "/health")).await;
    let answer =
        answer.map_err(|_| format!("no answer within {patience:?}"))?.map_err(|error| error.to_string())?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("the answer is not HTTP")?;
    serde_json::from_str(body).map_err(|error| format!("the answer is not JSON: {error}"))
}

/// HTTP/1.0, so that the body is neither chunked nor followed by anything.
async fn get(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use sextant_node::http::Health;

    use super::*;

    #[tokio::test]
    async fn a_process_of_ours_is_understood() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = free.local_addr().expect("address");
        drop(free);
        let detail = serde_json::json!({ "vdl": 42 });
        sextant_node::http::serve(addr, move || Health { ok: false, detail: detail.clone() })
            .await
            .expect("serves");
        let seen = health(&addr.to_string(), Duration::from_secs(5)).await.expect("answers");
        assert_eq!(seen["detail"]["vdl"], 42);
        assert_eq!(seen["ok"], false);
    }

    #[tokio::test]
    async fn silence_is_reported_in_time() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = silent.local_addr().expect("address").to_string();
        let error = health(&addr, Duration::from_millis(50)).await.expect_err("silent");
        assert!(error.contains("no answer"), "{error}");
    }
}
