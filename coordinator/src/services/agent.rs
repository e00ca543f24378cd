//! The agent service: one session of one agent on each stream.
//!
//! What an agent says becomes events, a frame at a time: a frame with one message that makes no sense changes nothing at
//! all and ends the session. What the coordinator says to it is drained from the session's queue by the very stream that
//! tonic reads ([`super::outbound`]): there is no task and no hop in between.

use std::{sync::Arc, time::Duration};

use evenkeel_core::engine::{AgentMessage, Event};
use evenkeel_proto::v1::{
    self, agent_message::Message as FromAgent, agent_service_server::AgentService,
    coordinator_message::Message as ToAgent,
};
use evenkeel_shared::{
    Code, Error, Registration, SessionEpoch, Violation,
    limits::OUTPUT_BYTES_MAX,
    trace::{SpanId, TraceContext},
    wire::{
        agent::{load, outcome, registration, to_assignment},
        cut_note,
        quantities::{to_ms, to_unix_ms_or_zero},
        spend::{quota_report, usage},
        status::to_status,
        task::{required_attempt_ref, to_attempt_ref},
    },
};
use futures_util::stream::BoxStream;
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status, Streaming};

use super::{cluster::Identity, outbound::Outbound, unreadable};
use crate::{
    connections::Peer,
    gateway::Gateway,
    intake::SessionTurn,
    lifecycle::Lifecycle,
    metrics::{BadInput, Metrics},
    security::{Caller, caller},
    sessions::{SessionEnd, Sessions},
    telemetry::place_of,
};

/// Messages from an agent in one frame: as many as its largest number of slots can end at once.
const FRAME_MESSAGES_MAX: usize = 2 * evenkeel_shared::limits::SLOTS_MAX as usize;

/// The service.
#[derive(Clone)]
pub struct Agents {
    /// The way to the coordinator.
    pub gateway: Gateway,
    /// Open sessions.
    pub sessions: Sessions,
    /// Who this coordinator is.
    pub identity: Arc<Identity>,
    /// Counters.
    pub metrics: Metrics,
    /// How long an agent may take to register: a stream that says nothing holds memory.
    pub register_within: Duration,
}

#[tonic::async_trait]
impl AgentService for Agents {
    type SessionStream = BoxStream<'static, Result<v1::CoordinatorFrame, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentFrame>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        self.gateway.lifecycle.check_ready().map_err(|error| to_status(&error))?;
        let peer = request.extensions().get::<Peer>().cloned();
        let (epoch, queue, end) = self.sessions.open();
        let outbound = Outbound::new(epoch, queue, Arc::clone(&end), Arc::clone(&self.identity));
        let from = place_of(request.metadata().as_ref());
        let caller = caller(request.extensions());
        let session = self.clone().serve(epoch, Arc::clone(&end), request.into_inner(), caller, from);
        tokio::spawn(async move {
            session.await;
            // What was queued is held until the stream is gone, which an agent that does not read never lets happen.
            if let Some(peer) = peer {
                peer.takes_end(end.gone()).await;
            }
        });
        Ok(Response::new(Box::pin(outbound.frames())))
    }
}

impl Agents {
    /// Reads a session to its end.
    async fn serve(
        self,
        epoch: SessionEpoch,
        end: Arc<SessionEnd>,
        mut inbound: Streaming<v1::AgentFrame>,
        caller: Arc<Caller>,
        from: Option<TraceContext>,
    ) {
        let mut registered = false;
        let turn = SessionTurn::default();
        let read = tokio::select! {
            // Most often there is something to read, and then it is not even asked whether the session has ended.
            biased;
            read = self.read(epoch, &turn, &mut inbound, &mut registered, (&caller, from)) => read,
            () = end.ended() => Ok("the session ended".to_owned()),
            () = self.gateway.lifecycle.closed() => Err(Lifecycle::restarting()),
        };
        let reason = match read {
            Ok(reason) => {
                self.sessions.remove(epoch);
                reason
            }
            Err(error) => {
                let reason = error.to_string();
                self.sessions.close(epoch, error);
                reason
            }
        };
        if let Some(traces) = self.gateway.traces.active() {
            traces.registered(epoch, Some(&reason));
        }
        if registered {
            // If the coordinator is gone there is nobody left to tell.
            let _ = self.gateway.intake.deliver(&turn, vec![Event::SessionClosed { session: epoch, reason }]).await;
        }
    }

    /// Delivers what the agent says until it ends the stream.
    async fn read(
        &self,
        epoch: SessionEpoch,
        turn: &SessionTurn,
        inbound: &mut Streaming<v1::AgentFrame>,
        registered: &mut bool,
        (caller, from): (&Caller, Option<TraceContext>),
    ) -> Result<String, Error> {
        let within = self.register_within;
        let late = || Error::new(Code::DeadlineExceeded, format!("no registration within {within:?}"));
        let register_by = Instant::now() + within;
        loop {
            let next = if *registered {
                inbound.message().await
            } else {
                timeout_at(register_by, inbound.message()).await.map_err(|_| late())?
            };
            let frame = match next {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok("the agent ended the session".to_owned()),
                Err(status) => {
                    let Some(error) = unreadable(&status) else { return Ok("the connection broke".to_owned()) };
                    self.metrics.bad_input(BadInput::Frame);
                    return Err(error);
                }
            };
            let events = self.events(epoch, frame, *registered)?;
            if let Some(Event::Register { registration, .. }) = events.first() {
                caller.agent.check(registration)?;
            }
            if !*registered {
                self.trace_registration(epoch, &events, from.as_ref());
            }
            // A frame may be empty, and is no registration then.
            if !events.is_empty() {
                *registered = true;
                self.gateway.intake.deliver(turn, events).await?;
            } else if !*registered && Instant::now() >= register_by {
                return Err(late());
            }
        }
    }

    fn trace_registration(&self, session: SessionEpoch, events: &[Event], from: Option<&TraceContext>) {
        if let (Some(traces), Some(Event::Register { registration, .. })) =
            (self.gateway.traces.active(), events.first())
        {
            traces.registering(session, registration.spec.id.as_str().to_owned(), from.cloned());
        }
    }

    /// The events of a whole frame, or what is wrong with it.
    fn events(&self, session: SessionEpoch, frame: v1::AgentFrame, registered: bool) -> Result<Vec<Event>, Error> {
        read_frame(session, frame, registered).map_err(|(counted_as, error)| {
            self.metrics.bad_input(counted_as);
            error
        })
    }
}

/// Reads a whole frame of a session that has registered, or has not: its events in their order.
///
/// # Errors
/// The first message that makes no sense, and as what it is counted. Nothing of such a frame is used.
pub fn read_frame(
    session: SessionEpoch,
    frame: v1::AgentFrame,
    mut registered: bool,
) -> Result<Vec<Event>, (BadInput, Error)> {
    let bad = |error: Violation| (BadInput::Frame, error.into());
    let count = frame.messages.len();
    if count > FRAME_MESSAGES_MAX {
        let what = format!("has {count} entries; at most {FRAME_MESSAGES_MAX} are allowed");
        return Err(bad(Violation::new("messages", what)));
    }
    let mut events = Vec::with_capacity(count);
    for (i, message) in frame.messages.into_iter().enumerate() {
        let field = format!("messages[{i}]");
        let message = message.message.ok_or_else(|| bad(Violation::new(field.as_str(), "is empty or not known")))?;
        check_turn(&message, registered, &field).map_err(|error| (BadInput::NotRegistered, error))?;
        registered = true;
        events.push(event(session, message).map_err(|violation| bad(violation.within(&field)))?);
    }
    Ok(events)
}

/// Registration comes first, and once.
fn check_turn(message: &FromAgent, registered: bool, field: &str) -> Result<(), Error> {
    match (message, registered) {
        (FromAgent::Register(_), false) => Ok(()),
        (FromAgent::Register(_), true) => {
            Err(Error::new(Code::FailedPrecondition, format!("{field}: the session is registered already")))
        }
        (_, true) => Ok(()),
        (_, false) => {
            Err(Error::new(Code::FailedPrecondition, format!("{field}: the first message must be `register`")))
        }
    }
}

fn event(session: SessionEpoch, message: FromAgent) -> Result<Event, Violation> {
    Ok(match message {
        FromAgent::Register(wire) => {
            let registration: Registration = registration(wire).map_err(|v| v.within("register"))?;
            Event::Register { session, registration: Box::new(registration) }
        }
        FromAgent::Heartbeat(wire) => {
            let load = load(wire).map_err(|v| v.within("heartbeat"))?;
            Event::Heartbeat { session, load: Box::new(load) }
        }
        FromAgent::Started(wire) => {
            let attempt = required_attempt_ref(wire.attempt).map_err(|v| v.within("started"))?;
            Event::Started { session, attempt }
        }
        FromAgent::Progress(wire) => {
            let attempt = required_attempt_ref(wire.attempt).map_err(|v| v.within("progress"))?;
            let fraction = wire.fraction;
            if !(0.0..=1.0).contains(&fraction) {
                return Err(Violation::new("progress.fraction", format!("{fraction} is not from 0 to 1")));
            }
            let usage = usage(wire.usage).map_err(|v| v.within("progress"))?;
            Event::Progress { session, attempt, fraction, note: cut_note(wire.note), usage }
        }
        FromAgent::Result(wire) => {
            let (attempt, outcome, run, usage) = outcome(wire).map_err(|v| v.within("result"))?;
            Event::Result { session, attempt, outcome, run, usage }
        }
        FromAgent::Draining(wire) => Event::AgentDraining { session, reason: cut_note(wire.reason) },
        FromAgent::QuotaExhausted(wire) => {
            let (key, retry_after) =
                quota_report(&wire.key, wire.retry_after_ms).map_err(|v| v.within("quota_exhausted"))?;
            Event::QuotaExhausted { session, key, retry_after, reason: cut_note(wire.reason) }
        }
    })
}

/// Writes a message for the agent of a session, as this coordinator.
#[must_use]
pub fn write_message(message: AgentMessage, session: SessionEpoch, identity: &Identity) -> v1::CoordinatorMessage {
    let message = match message {
        AgentMessage::Welcome { heartbeat_interval, session_timeout, adopted, superseded } => {
            ToAgent::Welcome(v1::Welcome {
                session_epoch: session.0,
                heartbeat_interval_ms: to_ms(heartbeat_interval),
                session_timeout_ms: to_ms(session_timeout),
                output_max_bytes: OUTPUT_BYTES_MAX as u32,
                adopted: adopted.into_iter().map(to_attempt_ref).collect(),
                superseded: superseded.into_iter().map(to_attempt_ref).collect(),
                coordinator_id: identity.coordinator_id.clone(),
                coordinator_version: identity.version.to_owned(),
            })
        }
        AgentMessage::Assign(assignment) => {
            let assignment = *assignment;
            let (attempt, timeout) = (assignment.attempt, assignment.timeout);
            let mut wire = to_assignment(attempt, &assignment.spec, assignment.payload, timeout);
            if identity.traces
                && let Some(trace) = assignment.spec.trace.as_deref().filter(|trace| trace.is_sampled())
            {
                wire.traceparent = trace.at(SpanId::of_attempt(attempt.task, attempt.attempt)).parent();
            }
            ToAgent::Assignment(wire)
        }
        AgentMessage::Cancel { attempt, reason } => {
            ToAgent::Cancel(v1::CancelAttempt { attempt: Some(to_attempt_ref(attempt)), reason: cut_note(reason) })
        }
        AgentMessage::Ack { attempt, recorded } => {
            let status = if recorded { v1::ResultStatus::Recorded } else { v1::ResultStatus::Stale };
            ToAgent::ResultAck(v1::ResultAck { attempt: Some(to_attempt_ref(attempt)), status: status.into() })
        }
        AgentMessage::Drain { deadline, reason } => {
            ToAgent::Drain(v1::Drain { deadline_unix_ms: to_unix_ms_or_zero(deadline), reason: cut_note(reason) })
        }
    };
    v1::CoordinatorMessage { message: Some(message) }
}
