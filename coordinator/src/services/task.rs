//! The task service: what clients ask about their work.

use std::{collections::HashSet, sync::Arc};

use evenkeel_proto::v1::{self, task_service_server::TaskService};
use evenkeel_shared::{
    Code, Error, EventPosition, Kind, TaskId, TaskState, Violation,
    limits::WAIT_TASKS_MAX,
    wire::{
        cut_note, enums,
        quantities::duration,
        status::{to_item_error, to_status},
        task::tenant,
    },
};
use futures_util::FutureExt as _;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use super::{
    redrive::{self, Redrives},
    refuse,
    scope::Scope,
    submission,
    submit_stream::{self, SubmitStream},
    task_list, view,
    watchers::TaskEvents,
};
use crate::{
    connections::Peer,
    directory::Known,
    gateway::{ANSWER_BYTES_MAX, Ended, Gateway, WAIT_BYTES_MAX, deadline, over},
    hub::Hub,
    metrics::Metrics,
    release::WatchedEvent,
    security::audit::CameOf,
    store::StoreReader,
    telemetry::Call,
    watch::{OUTBOUND_MAX, Watcher},
};

/// Tasks named in one watch: each is looked up in the store.
const WATCH_TASKS_MAX: usize = 1_000;
/// Candidates of an explanation, where nothing is said, and at most.
const CANDIDATES_DEFAULT: usize = 100;
const CANDIDATES_MAX: usize = 1_000;

/// The service.
#[derive(Clone)]
pub struct Tasks {
    /// The way to the coordinator.
    pub gateway: Gateway,
    /// Those who watch.
    pub hub: Hub<WatchedEvent>,
    /// Tasks that are being driven again.
    pub redrives: Redrives,
    /// Counters.
    pub metrics: Metrics,
    /// Room for streams of submissions: [`submit_stream::STREAMS_MAX`].
    pub submit_streams: Arc<Semaphore>,
}

impl Tasks {
    fn refuse(&self, error: &Error) -> Status {
        refuse(&self.metrics, error)
    }

    async fn submit_all(
        &self,
        request: v1::SubmitRequest,
        scope: &Scope,
        call: &Call,
    ) -> Result<v1::SubmitResponse, Status> {
        let one = request.tasks.len() == 1;
        let answers = submission::submit(&self.gateway, &self.metrics, request.tasks, None, scope, call).await;
        let answers = answers.map_err(|error| to_status(&error))?;
        match answers.as_slice() {
            [Err(error)] if one => Err(to_status(error)),
            _ => Ok(v1::SubmitResponse { results: answers.iter().map(submission::to_result).collect() }),
        }
    }

    async fn run(&self, request: v1::ExecuteRequest, scope: &Scope, call: &Call) -> Result<v1::ExecuteResponse, Error> {
        let until = deadline(duration("wait_timeout_ms", request.wait_timeout_ms)?);
        let task = request.task.ok_or_else(|| Violation::new("task", "must be set"))?;
        let (sink, results) = self.gateway.waiters.open(1, WAIT_BYTES_MAX);
        let submitted = submission::submit(&self.gateway, &self.metrics, vec![task], Some(sink.clone()), scope, call);
        let answers = submitted.await?;
        let submitted =
            answers.into_iter().next().unwrap_or_else(|| Err(Violation::new("task", "is missing").into()))?;
        let id = submitted.task;
        let ended = self.gateway.wait_for_one(submitted, (sink, results), until).await?;
        let late = || Error::new(Code::DeadlineExceeded, format!("task {id} is not over yet; it goes on"));
        let finished = ended.ok_or_else(|| late().about("task", id.to_string()))?;
        Ok(v1::ExecuteResponse { finished: Some(view::finished(&finished)) })
    }

    async fn shown(&self, request: &v1::GetRequest, scope: &Scope) -> Result<v1::Task, Error> {
        let id: TaskId = request.task_id.parse()?;
        scope.check(&self.gateway, &[id]).await?;
        let known = self.gateway.directory.get(id);
        let (with_payload, with_attempts) =
            (request.include_payload && scope.sees_contents(), request.include_attempts);
        let stored = self.gateway.reads.ask(move |store| {
            let Some(task) = store.task(id)? else { return Ok(None) };
            let mut shown = view::stored_task(&task);
            shown.redriven_as = store.redriven_as(id)?.map(|other| other.to_string()).unwrap_or_default();
            if with_attempts {
                shown.attempts = store.attempts(id)?.iter().map(view::attempt).collect();
            }
            if let Some(spec) = shown.spec.as_mut().filter(|_| with_payload) {
                spec.payload = store.payload(id)?.unwrap_or_default();
            }
            Ok(Some(shown))
        });
        let mut shown = match (stored.await?, &known) {
            (Some(shown), _) => shown,
            (None, Some(known)) => view::known_task(known),
            (None, None) => {
                self.gateway.directory.missed();
                return Err(Error::not_found("task", request.task_id.as_str()));
            }
        };
        if let Some(Known::Live(live)) = known {
            // It may have ended between the two looks; then the store is right.
            if shown.finished_unix_ms == 0 {
                view::put_live(&mut shown, &live);
            }
            if let Some(spec) = shown.spec.as_mut().filter(|_| with_payload) {
                spec.payload = live.payload;
            }
        }
        if !scope.sees_contents() {
            shown.output.clear();
        }
        Ok(shown)
    }

    async fn awaited(&self, request: v1::WaitRequest, scope: &Scope) -> Result<v1::WaitResponse, Error> {
        let count = request.task_ids.len();
        if count == 0 || count > WAIT_TASKS_MAX {
            let what = format!("has {count} entries; 1 to {WAIT_TASKS_MAX} are allowed");
            return Err(Violation::new("task_ids", what).into());
        }
        let until = deadline(duration("timeout_ms", request.timeout_ms)?);
        let mut seen = HashSet::new();
        let ids: Vec<TaskId> = task_ids(&request.task_ids)?.into_iter().filter(|id| seen.insert(*id)).collect();
        scope.check(&self.gateway, &ids).await?;
        let ended = self.gateway.wait(&ids, request.any, until).await?;
        Ok(wait_response(&ids, &ended))
    }

    async fn explained(&self, request: &v1::ExplainRequest, scope: &Scope) -> Result<v1::Explanation, Error> {
        let id: TaskId = request.task_id.parse()?;
        scope.check(&self.gateway, &[id]).await?;
        let candidates_max = match request.candidates_max as usize {
            0 => CANDIDATES_DEFAULT,
            asked => asked.min(CANDIDATES_MAX),
        };
        let live = self.gateway.explain(id, candidates_max).await?;
        let read = move |store: &dyn StoreReader| Ok((store.task(id)?, store.attempts(id)?));
        let (stored, attempts) = self.gateway.reads.ask(read).await?;
        if let Some(explanation) = live {
            return Ok(view::explanation(explanation, &attempts));
        }
        let ended = match self.gateway.directory.get(id) {
            Some(Known::Over(task)) => Some(task),
            _ => stored.and_then(over).map(Arc::new),
        };
        let ended = ended.ok_or_else(|| Error::not_found("task", request.task_id.as_str()))?;
        Ok(view::post_mortem(&ended, &attempts))
    }

    /// What a watch sends, after which position, and whether more can come: of named tasks that are all over nothing does.
    async fn watcher(
        &self,
        mut request: v1::WatchRequest,
        scope: &Scope,
    ) -> Result<(TaskEvents, Option<EventPosition>, bool), Error> {
        let count = request.task_ids.len();
        if count > WATCH_TASKS_MAX {
            let what = format!("has {count} entries; at most {WATCH_TASKS_MAX} are allowed");
            return Err(Violation::new("task_ids", what).into());
        }
        let tasks: HashSet<TaskId> = task_ids(&request.task_ids)?.into_iter().collect();
        scope.claim_name(&mut request.tenant)?;
        scope.check(&self.gateway, &tasks.iter().copied().collect::<Vec<_>>()).await?;
        let follow = tasks.is_empty() || self.any_live(&tasks).await?;
        let tenant = if request.tenant.is_empty() { None } else { Some(tenant(&request.tenant)?) };
        let kind = if request.kind.is_empty() { None } else { Some(Kind::new(&request.kind)?) };
        let after = match request.after_position {
            Some(position) => Some(kept(&self.gateway, EventPosition(position)).await?),
            None if tasks.is_empty() => None,
            None => Some(EventPosition::default()),
        };
        Ok((TaskEvents { reads: self.gateway.reads.clone(), tasks, tenant, kind }, after, follow))
    }

    /// Drives tasks again; those that the caller may not know of are not there for it.
    async fn redriven(&self, mut request: v1::RedriveRequest, scope: &Scope) -> Result<v1::RedriveResponse, Error> {
        scope.claim_name(&mut request.tenant)?;
        if request.task_ids.is_empty() {
            return self.redrives.redrive(&self.gateway, request).await;
        }
        let (seen, unseen) = scope.split(&self.gateway, &task_ids(&request.task_ids)?).await?;
        let mut answer = v1::RedriveResponse::default();
        if !seen.is_empty() {
            request.task_ids = seen.iter().map(ToString::to_string).collect();
            answer = self.redrives.redrive(&self.gateway, request).await?;
        }
        answer.redriven.extend(unseen.into_iter().map(|task| {
            let error = to_item_error(&Error::not_found("task", task.to_string()));
            v1::Redriven { task_id: task.to_string(), new_task_id: String::new(), error: Some(error) }
        }));
        Ok(answer)
    }

    /// Whether any of these tasks is not over; NOT_FOUND if one is not known.
    async fn any_live(&self, tasks: &HashSet<TaskId>) -> Result<bool, Error> {
        let mut live = false;
        for task in tasks {
            live |= !self.gateway.state(*task).await?.is_terminal();
        }
        Ok(live)
    }
}

/// The position, unless events after it are no longer kept.
pub(super) async fn kept(gateway: &Gateway, position: EventPosition) -> Result<EventPosition, Error> {
    let oldest = gateway.reads.ask(|store| store.oldest_position()).await?;
    // From 0 on is from the beginning, wherever that is by now.
    if position == EventPosition::default() || position.0.saturating_add(1) >= oldest.0 {
        return Ok(position);
    }
    let what = format!("events after position {position} are no longer kept; the oldest kept is {oldest}");
    Err(Error::new(Code::OutOfRange, what).about("event", oldest.to_string()))
}

fn task_ids(ids: &[String]) -> Result<Vec<TaskId>, Violation> {
    let read = |(i, id): (usize, &String)| {
        id.parse().map_err(|v: Violation| Violation::new(format!("task_ids[{i}]"), v.description))
    };
    ids.iter().enumerate().map(read).collect()
}

/// Those that are over, as far as they fit into one message, in the order asked; the others can be asked for again.
fn wait_response(ids: &[TaskId], ended: &Ended) -> v1::WaitResponse {
    let mut response = v1::WaitResponse::default();
    let mut bytes = 0;
    for id in ids {
        match ended.get(id) {
            // One output alone always fits.
            Some(finished) if bytes == 0 || bytes + finished.output.len() <= ANSWER_BYTES_MAX => {
                bytes += finished.output.len();
                response.finished.push(view::finished(finished));
            }
            _ => response.pending_task_ids.push(id.to_string()),
        }
    }
    response
}

#[tonic::async_trait]
impl TaskService for Tasks {
    type SubmitStreamStream = ReceiverStream<Result<v1::SubmitStreamResponse, Status>>;
    type WatchStream = ReceiverStream<Result<v1::TaskEvent, Status>>;

    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Result<Response<v1::SubmitResponse>, Status> {
        let call = Call::new(&self.gateway.traces, "Submit", &request);
        let scope = Scope::of(request.extensions());
        self.submit_all(request.into_inner(), &scope, &call).instrument(call.in_log()).await.map(Response::new)
    }

    async fn submit_stream(
        &self,
        request: Request<Streaming<v1::SubmitStreamRequest>>,
    ) -> Result<Response<Self::SubmitStreamStream>, Status> {
        self.gateway.lifecycle.check_ready().map_err(|error| to_status(&error))?;
        let Ok(place) = Arc::clone(&self.submit_streams).try_acquire_owned() else {
            let what = "there are as many streams of submissions as there may be";
            return Err(to_status(&Error::exhausted(what, submit_stream::RETRY_AFTER)));
        };
        let (outbound, responses) = mpsc::channel(submit_stream::OUTBOUND_MAX);
        let call = Call::new(&self.gateway.traces, "SubmitStream", &request);
        let stream = SubmitStream::new(
            self.gateway.clone(),
            self.metrics.clone(),
            outbound,
            Scope::of(request.extensions()),
            call,
        );
        let peer = request.extensions().get::<Peer>().cloned();
        tokio::spawn(stream.run(request.into_inner(), peer).map(|()| drop(place)));
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn execute(&self, request: Request<v1::ExecuteRequest>) -> Result<Response<v1::ExecuteResponse>, Status> {
        let call = Call::new(&self.gateway.traces, "Execute", &request);
        let scope = Scope::of(request.extensions());
        let ran = self.run(request.into_inner(), &scope, &call).instrument(call.in_log()).await;
        ran.map(Response::new).map_err(|error| to_status(&error))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        let scope = Scope::of(request.extensions());
        let task = self.shown(request.get_ref(), &scope).await.map_err(|error| self.refuse(&error))?;
        Ok(Response::new(v1::GetResponse { task: Some(task) }))
    }

    async fn wait(&self, request: Request<v1::WaitRequest>) -> Result<Response<v1::WaitResponse>, Status> {
        let scope = Scope::of(request.extensions());
        self.awaited(request.into_inner(), &scope).await.map(Response::new).map_err(|error| self.refuse(&error))
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let scope = Scope::of(request.extensions());
        let watcher = self.watcher(request.into_inner(), &scope).await;
        let (source, after, follow) = watcher.map_err(|error| self.refuse(&error))?;
        let (outbound, events) = mpsc::channel(OUTBOUND_MAX);
        let lifecycle = self.gateway.lifecycle.clone();
        let watcher = Watcher { source, hub: self.hub.clone(), outbound, lifecycle };
        tokio::spawn(watcher.run(after, follow));
        Ok(Response::new(ReceiverStream::new(events)))
    }

    async fn cancel(&self, request: Request<v1::CancelRequest>) -> Result<Response<v1::CancelResponse>, Status> {
        let scope = Scope::of(request.extensions());
        let request = request.into_inner();
        let cancelled = async {
            let id: TaskId = request.task_id.parse()?;
            scope.check(&self.gateway, &[id]).await?;
            self.gateway.cancel(id, cut_note(request.reason)).await
        };
        let state = cancelled.await.map_err(|error| self.refuse(&error))?;
        let answer = v1::CancelResponse { state: enums::to_task_state(state).into() };
        Ok(match state {
            TaskState::Cancelled => Response::new(answer),
            over => CameOf::done(&format!("nothing was changed, the task is {over}")).beside(answer),
        })
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        let scope = Scope::of(request.extensions());
        let mut request = request.into_inner();
        let claimed = scope.claim_name(&mut request.tenant);
        let listed = match claimed {
            Ok(()) => task_list::list(&self.gateway, request).await,
            Err(error) => Err(error),
        };
        listed.map(Response::new).map_err(|error| self.refuse(&error))
    }

    async fn explain(&self, request: Request<v1::ExplainRequest>) -> Result<Response<v1::Explanation>, Status> {
        let scope = Scope::of(request.extensions());
        self.explained(request.get_ref(), &scope).await.map(Response::new).map_err(|error| self.refuse(&error))
    }

    async fn redrive(&self, request: Request<v1::RedriveRequest>) -> Result<Response<v1::RedriveResponse>, Status> {
        let scope = Scope::of(request.extensions());
        let redriven = self.redriven(request.into_inner(), &scope).await;
        let answer = redriven.map_err(|error| self.refuse(&error))?;
        Ok(redrive::came_of(&answer.redriven).beside(answer))
    }
}
