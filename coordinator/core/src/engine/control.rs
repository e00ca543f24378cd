//! The operator's commands about limits, breakers, quotas, budgets and prices, and what agents say of quotas.

use std::time::Duration;

use evenkeel_shared::{Code, Error, QuotaKey, SessionEpoch};

use super::{
    Engine,
    effects::{Effects, Message, Reply},
    event::{ControlCommand, RequestId},
};

impl Engine {
    pub(super) fn control(&mut self, request: RequestId, command: ControlCommand, reason: String, out: &mut Effects) {
        let _ = (command, reason);
        let answer = Err(Error::new(Code::Unimplemented, "not yet"));
        out.messages.push(Message::Reply { request, reply: Reply::Done(answer) });
    }

    pub(super) fn quota_exhausted(
        &mut self,
        session: SessionEpoch,
        key: &QuotaKey,
        retry_after: Duration,
        reason: String,
        out: &mut Effects,
    ) {
        let _ = (session, key, retry_after, reason, out);
    }
}
