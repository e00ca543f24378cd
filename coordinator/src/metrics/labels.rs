//! Labels of what the shell counts itself: closed enumerations, so that no input can make a new series.

use evenkeel_shared::{Code, Error};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};

/// Input that was refused, by reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the names are the values of the label")]
pub enum Reason {
    invalid_task,
    invalid_request,
    invalid_frame,
    not_registered,
    agent_id_taken,
    session_refused,
    stale_result,
}

/// Input that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadInput {
    /// A task of a submission.
    Task,
    /// Any other request of a client.
    Request,
    /// A frame of an agent.
    Frame,
    /// A frame before registration, or a second registration.
    NotRegistered,
    /// An agent claimed the id of another.
    AgentIdTaken,
    /// The engine ended a session for another reason.
    Session,
    /// A result for an attempt that the agent does not hold.
    StaleResult,
}

impl BadInput {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Task,
        Self::Request,
        Self::Frame,
        Self::NotRegistered,
        Self::AgentIdTaken,
        Self::Session,
        Self::StaleResult,
    ];

    /// What an ended session was ended for.
    #[must_use]
    pub fn session(error: &Error) -> Self {
        if error.code == Code::AlreadyExists { Self::AgentIdTaken } else { Self::Session }
    }

    /// Its name in the metrics.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Task => Reason::invalid_task,
            Self::Request => Reason::invalid_request,
            Self::Frame => Reason::invalid_frame,
            Self::NotRegistered => Reason::not_registered,
            Self::AgentIdTaken => Reason::agent_id_taken,
            Self::Session => Reason::session_refused,
            Self::StaleResult => Reason::stale_result,
        }
    }
}

/// Who did not take what was his.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlowConsumer {
    /// An agent.
    Session,
    /// Somebody who watches.
    Watch,
    /// Somebody who wants results.
    Results,
}

/// Why a connection was closed by the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClosedConnection {
    /// There were as many as there may be.
    TooMany,
    /// There were as many as there may be from its address.
    TooManyFromAddress,
    /// It did not begin its protocol.
    Silent,
    /// Its peer came without TLS to a port that speaks TLS.
    Plaintext,
    /// Its TLS handshake failed.
    Handshake,
    /// Its TLS handshake was the oldest one when there were as many as there may be.
    HandshakeCrowded,
    /// Its peer did not take what was sent.
    Unread,
    /// Its peer did not end what it had begun to send.
    Unfinished,
    /// Its credential was revoked, and it did not take the end of its streams.
    Revoked,
}

impl SlowConsumer {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Session, Self::Watch, Self::Results];

    /// Its name in the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Watch => "watch",
            Self::Results => "results",
        }
    }
}

impl ClosedConnection {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::TooMany,
        Self::TooManyFromAddress,
        Self::Silent,
        Self::Plaintext,
        Self::Handshake,
        Self::HandshakeCrowded,
        Self::Unread,
        Self::Unfinished,
        Self::Revoked,
    ];

    /// Its name in the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::TooManyFromAddress => "too_many_from_address",
            Self::Silent => "silent",
            Self::Plaintext => "plaintext",
            Self::Handshake => "handshake",
            Self::HandshakeCrowded => "handshake_crowded",
            Self::Unread => "unread",
            Self::Unfinished => "unfinished",
            Self::Revoked => "revoked",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ClosedLabel {
    pub reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    pub reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StreamLabel {
    pub stream: &'static str,
}
