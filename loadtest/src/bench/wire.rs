//! Two languages for one client and one agent: Evenkeel's and the yardstick's.
//!
//! The client and the agents of a measure share the machine with what is measured, so they are the same programs on both sides:
//! all that differs is which messages they say. What a task is stays out of the messages: its number is the first eight bytes
//! of the payload and comes back as its output, so that nobody needs a table of ids to know which task has ended.

mod evenkeel;
mod yardstick;

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tonic::{Request, Status, Streaming, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};
use tonic_prost::ProstCodec;

pub(super) use self::{evenkeel::Evenkeel, yardstick::Yardstick};

/// Bytes of each payload.
pub(super) const PAYLOAD_BYTES: usize = 64;
/// The kind of all tasks.
pub(super) const KIND: &str = "bench";

/// A message of either language.
pub(super) trait Words: Message + Default + 'static {}

impl<M: Message + Default + 'static> Words for M {}

/// What a client says and hears.
pub(super) trait ClientWire: Copy + Send + Sync + 'static {
    /// One task, which is to be done and answered.
    type Call: Words;
    /// Its answer.
    type Answer: Words;
    /// Many tasks.
    type Batch: Words;
    /// What came of some.
    type Results: Words;
    /// The method for one task.
    const CALL: &'static str;
    /// The method for many.
    const STREAM: &'static str;

    /// Asks for a task; `urgent` ones go first, where there is such a thing.
    fn call(self, task: Bytes, urgent: bool) -> Self::Call;
    /// The output of a task that was asked for.
    fn answer(answer: Self::Answer) -> Result<Bytes, String>;
    /// Asks for tasks.
    fn batch(self, tasks: impl Iterator<Item = Bytes>) -> Self::Batch;
    /// Hands on the output of each task that has ended; tasks that were refused are counted.
    fn results(results: Self::Results, ended: &mut impl FnMut(Bytes)) -> Result<u64, String>;
}

/// What an agent says and hears.
pub(super) trait AgentWire: Clone + Send + Sync + 'static {
    /// What it says.
    type Up: Words;
    /// What it hears.
    type Down: Words;
    /// A task that it has.
    type Job: Send + 'static;
    /// The method.
    const SESSION: &'static str;

    /// The first thing that it says.
    fn hello(&self, index: u32, slots: u32) -> Self::Up;
    /// That it is there, said once in a while; `None` where nobody wants to know.
    fn heartbeat(&self) -> Option<Self::Up>;
    /// What it has heard. `Some` if that it is welcome: the time between heartbeats in milliseconds, 0 for none.
    fn heard(&self, down: Self::Down, jobs: &mut impl Extend<Self::Job>) -> Option<u64>;
    /// That these are done, each of which ran so long.
    fn done(&self, jobs: impl Iterator<Item = Self::Job>, run: Duration) -> Self::Up;
}

/// The payload of a task.
pub(super) fn payload(number: u64) -> Bytes {
    let mut bytes = [b'.'; PAYLOAD_BYTES];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Bytes::copy_from_slice(&bytes)
}

/// What an agent answers to a payload: the task's number, without a copy.
fn output(payload: &Bytes) -> Bytes {
    payload.slice(..payload.len().min(8))
}

/// The number in an output.
pub(super) fn number(output: &[u8]) -> Option<u64> {
    output.try_into().ok().map(u64::from_be_bytes)
}

/// Calls methods by their paths.
#[derive(Clone)]
pub(super) struct Caller(Grpc<Channel>);

impl Caller {
    /// Calls over this connection.
    pub(super) fn new(channel: Channel) -> Self {
        Self(Grpc::new(channel))
    }

    /// One question, one answer.
    pub(super) async fn unary<S: Words, H: Words>(&mut self, path: &'static str, say: S) -> Result<H, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static(path);
        let answer = self.0.unary(Request::new(say), path, ProstCodec::<S, H>::default()).await?;
        Ok(answer.into_inner())
    }

    /// Streams both ways.
    pub(super) async fn streaming<S: Words, H: Words>(
        &mut self,
        path: &'static str,
        say: impl futures_util::Stream<Item = S> + Send + 'static,
    ) -> Result<Streaming<H>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static(path);
        let answer = self.0.streaming(Request::new(say), path, ProstCodec::<S, H>::default()).await?;
        Ok(answer.into_inner())
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.0.ready().await.map_err(|error| Status::unavailable(format!("no connection: {error}")))
    }
}
