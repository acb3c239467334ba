//! A client session: the transaction block, prepared statements, portals, settings, COPY.
//!
//! | file | idea |
//! | --- | --- |
//! | [`Session`] (here) | one message in, its answer into the write buffer |
//! | `block`, `savepoint` | the transaction block: idle, implicit, open, failed; its savepoints |
//! | `simple`, `extended` | the two query protocols |
//! | `portal`, `run`, `rows` | a statement with its parameters, running it, writing its rows |
//! | `steer`, `cursors`, `settings` | statements about the session itself |
//! | `copy_in`, `copy_out`, `copy` | COPY |
//! | `plans` | plans by the text of their statement |
//! | `interrupt`, `report`, `codes`, `metrics` | cancellation, errors, SQLSTATEs, counters |
//!
//! What must hold: ReadyForQuery says the truth about the block; a commit is answered only when it is durable at a write
//! quorum, or with an error that says the outcome is unknown; after an error in the extended protocol everything is
//! skipped up to Sync; nothing is collected that can be streamed.

mod block;
pub mod codes;
mod copy;
mod copy_in;
mod copy_out;
mod cursors;
mod extended;
mod interrupt;
mod metrics;
mod plans;
mod portal;
pub mod report;
mod rows;
mod run;
mod savepoint;
mod settings;
mod simple;
mod steer;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

pub use interrupt::{End, Interrupt};
pub use report::Failure;
pub use settings::{SERVER_VERSION, Settings};

use crate::sql::{Database, SessionContext};
use crate::types::{SqlError, SqlResult, sqlstate};
use crate::wire::backend::{self, Status};
use crate::wire::frontend::{self, Frontend, MessageError};
use crate::wire::{Frame, Wire};
use block::Block;
use plans::Plans;
use portal::{Portals, Statements};
use run::{Clock, Derived};

/// Whether the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Wait for the next message.
    Continue,
    /// The client said goodbye.
    End,
}

/// See the module.
pub struct Session {
    db: Arc<Database>,
    context: SessionContext,
    settings: Settings,
    /// The generation of the settings that `context` was made from.
    settings_in_context: u64,
    interrupt: Arc<Interrupt>,
    block: Block,
    clock: Clock,
    derived: Derived,
    statements: Statements,
    portals: Portals,
    plans: Plans,
    /// After an error in the extended protocol: skip to Sync.
    skipping: bool,
}

impl Session {
    /// A session of `user` in `database`, known to the client as `process`.
    #[must_use]
    pub fn new(
        db: Arc<Database>,
        user: &str,
        database: &str,
        process: i32,
        interrupt: Arc<Interrupt>,
    ) -> Session {
        let mut context = SessionContext::new(user, database);
        context.change(|session| session.backend_pid = process);
        context.set_locks(db.txns.session());
        let mut settings = Settings::default();
        settings.fix("session_authorization", user);
        let derived = Derived::of(&settings);
        Session {
            context,
            db,
            settings,
            settings_in_context: u64::MAX,
            interrupt,
            block: Block::default(),
            clock: Clock::default(),
            derived,
            statements: Statements::default(),
            portals: Portals::default(),
            plans: Plans::default(),
            skipping: false,
        }
    }

    /// Takes a setting of the startup packet.
    ///
    /// # Errors
    /// 42704, 22023, 55P02: the session is refused.
    pub fn start_with(&mut self, name: &str, value: &str) -> SqlResult<()> {
        self.settings.start_with(name, value)
    }

    /// What follows the authentication: the reported settings, and the first ReadyForQuery.
    pub fn greet(&mut self, out: &mut BytesMut) {
        self.ready(out);
    }

    /// How long the client may be idle now; only inside a transaction block is there a limit.
    #[must_use]
    pub fn idle_limit(&self) -> Option<Duration> {
        match self.block.status() {
            Status::Idle => None,
            _ => self.derived.idle_timeout,
        }
    }

    /// The end: what is not committed never happened.
    pub fn close(&mut self) {
        self.rollback();
    }

    /// Handles one message; the answer is in `wire`, sent when the protocol says so.
    ///
    /// # Errors
    /// What ends the connection. Errors of statements are answered, not returned.
    pub async fn handle(&mut self, frame: Frame, wire: &mut Wire) -> Result<Flow, Failure> {
        let message = match frontend::decode(frame.tag, &frame.body) {
            Ok(message) => message,
            Err(error) => return Box::pin(self.misunderstood(frame.tag, error, wire)).await,
        };
        match message {
            Frontend::Query(_) | Frontend::FunctionCall if self.skipping => {}
            Frontend::Query(sql) => {
                Box::pin(self.simple_query(sql, wire)).await?;
            }
            Frontend::Sync => {
                self.skipping = false;
                self.sync(wire).await?;
            }
            Frontend::Terminate => return Ok(Flow::End),
            Frontend::FunctionCall => {
                self.answer_error(&SqlError::unsupported("the fast-path function call"), wire)?;
                self.finish(wire).await?;
            }
            Frontend::Password => return Err(violation("unexpected authentication message")),
            // What is left of a COPY that failed: the client had not read of it yet.
            Frontend::CopyData(_) | Frontend::CopyDone | Frontend::CopyFail(_) => {}
            _ if self.skipping => {}
            Frontend::Flush => wire.flush().await?,
            message => self.extended_step(message, wire).await?,
        }
        Ok(Flow::Continue)
    }

    async fn extended_step(&mut self, message: Frontend<'_>, wire: &mut Wire) -> Result<(), Failure> {
        self.prologue();
        match self.extended(message, wire).await {
            Err(Failure::Sql(error)) => {
                self.skipping = true;
                self.answer_error(&error, wire)?;
                // A client that uses Flush in place of Sync waits for this.
                wire.flush().await?;
                Ok(())
            }
            other => other,
        }
    }

    /// Something begins: an old cancellation is forgotten, the settings of now count, and so does time.
    fn prologue(&mut self) {
        self.interrupt.clear_cancel();
        self.refresh();
        self.clock.start(self.derived.statement_timeout);
    }

    /// A frame that cannot be read. Its neighbours can, unless its type is unknown.
    async fn misunderstood(
        &mut self,
        tag: u8,
        error: MessageError,
        wire: &mut Wire,
    ) -> Result<Flow, Failure> {
        let code = match error {
            MessageError::UnknownType(_) => return Err(violation(&error.to_string())),
            MessageError::Malformed(_) => codes::PROTOCOL_VIOLATION,
            MessageError::Encoding(_) => sqlstate::CHARACTER_NOT_IN_REPERTOIRE,
        };
        if !self.skipping {
            self.answer_error(&SqlError::new(code, error.to_string()), wire)?;
            self.skipping = tag != b'Q';
        }
        if tag == b'S' || !self.skipping {
            self.finish(wire).await?;
        }
        Ok(Flow::Continue)
    }

    /// Tells the client, and fails the transaction.
    fn answer_error(&mut self, error: &SqlError, wire: &mut Wire) -> Result<(), Failure> {
        self.fail();
        report::error(&mut wire.out, "ERROR", error);
        match self.interrupt.ended() {
            None | Some(End::Drain) => Ok(()),
            Some(end) => Err(Failure::Fatal(end.error())),
        }
    }

    fn ready(&mut self, out: &mut BytesMut) {
        self.settings.report(|name, value| backend::parameter_status(out, name, value));
        backend::ready(out, self.block.status());
    }

    /// ReadyForQuery, and the one flush.
    async fn finish(&mut self, wire: &mut Wire) -> Result<(), Failure> {
        self.skipping = false;
        self.refresh();
        self.ready(&mut wire.out);
        wire.flush().await?;
        Ok(())
    }
}

fn violation(message: &str) -> Failure {
    Failure::Fatal(SqlError::new(codes::PROTOCOL_VIOLATION, message))
}
