//! One connection from accept to close: reads messages, hands them to the session, and waits for the client.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::registry::Ticket;
use super::startup::{self, Opening, Parameters};
use super::{Server, metrics};
use crate::session::{Failure, Flow, Session, codes, report};
use crate::types::SqlError;
use crate::wire::{Frame, Wire, WireError};

/// Serves one client until it goes, or must go.
pub(super) async fn serve(stream: TcpStream, peer: SocketAddr, server: Arc<Server>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, "cannot switch Nagle's algorithm off: {error}");
    }
    let mut wire = Wire::new(stream, server.limits.message_bytes_max);
    let outcome =
        match tokio::time::timeout(server.limits.startup, startup::read(&mut wire, &server.registry)).await {
            Err(_late) => {
                tracing::debug!(%peer, "no startup packet in time");
                "late"
            }
            Ok(Ok(Opening::Gone)) => "gone",
            Ok(Ok(Opening::Cancelled)) => "cancel",
            Ok(Err(failure)) => {
                end(wire, peer, failure).await;
                metrics::STARTUPS.with_label_values(&["garbage"]).inc();
                return;
            }
            Ok(Ok(Opening::Session(parameters))) => {
                session(wire, peer, &server, parameters).await;
                return;
            }
        };
    metrics::STARTUPS.with_label_values(&[outcome]).inc();
}

async fn session(mut wire: Wire, peer: SocketAddr, server: &Arc<Server>, parameters: Parameters) {
    let opened = match server.registry.admit() {
        None => Err(SqlError::new(codes::TOO_MANY_CONNECTIONS, "sorry, too many clients already")),
        Some(ticket) => open(server, &parameters, &ticket).map(|session| (session, ticket)),
    };
    let (mut session, ticket) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            metrics::STARTUPS.with_label_values(&["refused"]).inc();
            end(wire, peer, Failure::Fatal(error)).await;
            return;
        }
    };
    metrics::STARTUPS.with_label_values(&["session"]).inc();
    startup::welcome(&mut wire.out, &parameters, &ticket);
    session.greet(&mut wire.out);
    let result = converse(&mut session, &mut wire, &ticket).await;
    session.close();
    count(&mut wire);
    match result {
        Ok(()) => wire.close().await,
        Err(failure) => end(wire, peer, failure).await,
    }
}

fn open(server: &Arc<Server>, parameters: &Parameters, ticket: &Ticket) -> Result<Session, SqlError> {
    let mut session = Session::new(
        Arc::clone(&server.database),
        &parameters.user,
        &parameters.database,
        ticket.process,
        Arc::clone(&ticket.interrupt),
    );
    for (name, value) in &parameters.settings {
        session.start_with(name, value)?;
    }
    Ok(session)
}

/// Messages in, answers out, until the client says goodbye.
async fn converse(session: &mut Session, wire: &mut Wire, ticket: &Ticket) -> Result<(), Failure> {
    wire.flush().await?;
    loop {
        let frame = match wire.buffered()? {
            Some(frame) => {
                // A client that never pauses must not outlive the engine.
                if let Some(end) = ticket.interrupt.ended() {
                    return Err(Failure::Fatal(end.error()));
                }
                frame
            }
            None => match wait(session, wire, ticket).await? {
                Some(frame) => frame,
                None => return Ok(()),
            },
        };
        if matches!(session.handle(frame, wire).await?, Flow::End) {
            return Ok(());
        }
    }
}

/// Waits for the client, while listening for the engine's end and for the idle limit.
async fn wait(session: &mut Session, wire: &mut Wire, ticket: &Ticket) -> Result<Option<Frame>, Failure> {
    count(wire);
    let idle = session.idle_limit();
    let interrupt = &ticket.interrupt;
    tokio::select! {
        biased;
        frame = wire.next() => Ok(frame?),
        end = interrupt.wait_ended() => Err(Failure::Fatal(end.error())),
        () = expire(idle) => Err(Failure::Fatal(SqlError::new(
            codes::IDLE_IN_TRANSACTION_TIMEOUT,
            "terminating connection due to idle-in-transaction timeout",
        ))),
    }
}

async fn expire(limit: Option<std::time::Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

fn count(wire: &mut Wire) {
    let (received, sent) = wire.take_counts();
    metrics::BYTES_IN.inc_by(received);
    metrics::BYTES_OUT.inc_by(sent);
}

/// The last words to a client, and one line in the log.
async fn end(mut wire: Wire, peer: SocketAddr, failure: Failure) {
    let error = match failure {
        Failure::Sql(error) | Failure::Fatal(error) => error,
        Failure::Wire(WireError::Io(error)) => {
            tracing::debug!(%peer, "connection lost: {error}");
            return;
        }
        Failure::Wire(error) => SqlError::new(codes::PROTOCOL_VIOLATION, error.to_string()),
    };
    if error.sqlstate == codes::PROTOCOL_VIOLATION {
        metrics::PROTOCOL_ERRORS.inc();
    }
    tracing::debug!(%peer, sqlstate = error.sqlstate, "connection ends: {}", error.message);
    report::error(&mut wire.out, "FATAL", &error);
    // A client that does not read must not keep this task.
    tokio::time::timeout(std::time::Duration::from_secs(5), wire.close()).await.ok();
}
