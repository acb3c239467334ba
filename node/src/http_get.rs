//! The little of an HTTP client that reading `/health` and `/metrics` of another process takes: one GET over a
//! connection of its own.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest answer that is read. Bytes.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// What `/health` at `host:port` says, whatever its status code; the reason when it says nothing usable.
pub async fn health(address: &str, patience: Duration) -> Result<serde_json::Value, String> {
    let body = body(address, "/health", patience).await?;
    serde_json::from_str(&body).map_err(|error| format!("the answer is not JSON: {error}"))
}

/// The value of one series of `/metrics` at `host:port`, named as it is printed: `name{label="value"}`. None when the
/// process has no such series yet.
pub async fn metric(address: &str, series: &str, patience: Duration) -> Result<Option<f64>, String> {
    let body = body(address, "/metrics", patience).await?;
    let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.trim().parse().ok();
    Ok(body.lines().find_map(value))
}

async fn body(address: &str, path: &str, patience: Duration) -> Result<String, String> {
    let answer = timeout(patience, get(address, path)).await;
    let answer =
        answer.map_err(|_| format!("no answer within {patience:?}"))?.map_err(|error| error.to_string())?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("the answer is not HTTP")?;
    Ok(body.to_owned())
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
    use super::*;
    use crate::http::{self, Health};

    #[tokio::test]
    async fn a_process_of_ours_is_understood() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = free.local_addr().expect("address");
        drop(free);
        let counter = prometheus::register_int_counter!("http_get_test_total", "Of this test").expect("new");
        counter.inc_by(7);
        let detail = serde_json::json!({ "vdl": 42 });
        http::serve(addr, move || Health { ok: false, detail: detail.clone() }).await.expect("serves");
        let (addr, patience) = (addr.to_string(), Duration::from_secs(5));
        let seen = health(&addr, patience).await.expect("answers");
        assert_eq!(seen["detail"]["vdl"], 42);
        assert_eq!(seen["ok"], false);
        assert_eq!(metric(&addr, "http_get_test_total", patience).await, Ok(Some(7.0)));
        assert_eq!(metric(&addr, "http_get_test", patience).await, Ok(None));
    }

    #[tokio::test]
    async fn silence_is_reported_in_time() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = silent.local_addr().expect("address").to_string();
        let error = health(&addr, Duration::from_millis(50)).await.expect_err("silent");
        assert!(error.contains("no answer"), "{error}");
    }
}
