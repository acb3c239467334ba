//! `/metrics` and `/health` of every process.
//!
//! `/metrics` is the default registry of crate `prometheus` in its text format. `/health` answers 200 when the process
//! can do its work and 503 when it cannot, with the same JSON in both cases.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::TextEncoder;

use crate::net;

/// What `/health` tells.
#[derive(Debug, Clone)]
pub struct Health {
    /// Whether the process can do its work now.
    pub ok: bool,
    /// Role-specific facts, shown under `detail`.
    pub detail: serde_json::Value,
}

type Probe = Arc<dyn Fn() -> Health + Send + Sync>;

/// Binds `listen`, serves `/metrics` and `/health` from a task of its own, and returns once the port is open. A bind
/// error names the address. `health` is called once per request and must not block.
pub async fn serve(
    listen: SocketAddr,
    health: impl Fn() -> Health + Send + Sync + 'static,
) -> std::io::Result<()> {
    let listener = net::bind(listen, "HTTP (/metrics, /health)").await.map_err(std::io::Error::from)?;
    let probe: Probe = Arc::new(health);
    let router =
        Router::new().route("/metrics", get(metrics)).route("/health", get(report)).with_state(probe);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%listen, %error, "the HTTP server stopped: /metrics and /health are gone");
        }
    });
    Ok(())
}

async fn metrics() -> Response {
    match TextEncoder::new().encode_to_string(&prometheus::gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn report(State(probe): State<Probe>) -> Response {
    let health = probe();
    let status = if health.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ok": health.ok, "detail": health.detail }).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn free_address() -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        listener.local_addr().expect("address")
    }

    async fn get(addr: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(addr).await.expect("connect");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("send");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answer");
        answer
    }

    #[tokio::test]
    async fn health_and_metrics_answer() {
        let ok = Arc::new(AtomicBool::new(true));
        let seen = ok.clone();
        let addr = free_address().await;
        serve(addr, move || Health {
            ok: seen.load(Ordering::SeqCst),
            detail: serde_json::json!({ "role": "test" }),
        })
        .await
        .expect("serves");
        let counter = prometheus::IntCounter::new("sextant_node_test_total", "test").expect("valid name");
        prometheus::register(Box::new(counter.clone())).expect("registers");
        counter.inc();

        let healthy = get(addr, "/health").await;
        assert!(healthy.starts_with("HTTP/1.1 200"), "{healthy}");
        assert!(healthy.ends_with(r#"{"detail":{"role":"test"},"ok":true}"#), "{healthy}");
        ok.store(false, Ordering::SeqCst);
        assert!(get(addr, "/health").await.starts_with("HTTP/1.1 503"));
        assert!(get(addr, "/metrics").await.contains("sextant_node_test_total 1"));
        assert!(get(addr, "/other").await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = taken.local_addr().expect("address");
        let error = serve(addr, || Health { ok: true, detail: serde_json::Value::Null }).await;
        let error = error.expect_err("taken").to_string();
        assert!(error.contains(&addr.to_string()) && error.contains("HTTP"), "{error}");
    }
}
