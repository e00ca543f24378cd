//! Changes made and undone at a coordinator that has a strategy and little else.

use std::sync::Mutex;

use evenkeel_proto::v1::{
    ClusterEvent,
    cluster_service_server::{ClusterService, ClusterServiceServer},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, transport::Endpoint};

use self::absent::{absent, absent_but_strategies};
use super::*;

#[path = "../../tests/scripted/absent.rs"]
mod absent;

type Answer<T> = Result<Response<T>, Status>;

/// What it was asked, and what it does wrong.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Books>>);

#[derive(Default)]
struct Books {
    in_force: StrategyConfig,
    /// Each strategy that was set.
    set: Vec<&'static str>,
    /// Calls that are answered UNAVAILABLE first.
    unavailable: u32,
    /// Strategies are refused for good.
    refuses: bool,
    /// Strategies are taken and not put in force.
    ignores: bool,
}

impl Fake {
    fn answer(&self) -> Answer<v1::StrategyConfig> {
        let mut books = self.0.lock().unwrap();
        if books.unavailable > 0 {
            books.unavailable -= 1;
            return Err(Status::unavailable("it is being restarted"));
        }
        Ok(Response::new(strategy::to_strategy(&books.in_force)))
    }

    fn name(&self) -> &'static str {
        self.0.lock().unwrap().in_force.name()
    }

    fn set(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().set.clone()
    }
}

#[tonic::async_trait]
impl ClusterService for Fake {
    type EventsStream = ReceiverStream<Result<ClusterEvent, Status>>;

    async fn get_strategy(&self, _: Request<GetStrategyRequest>) -> Answer<v1::StrategyConfig> {
        self.answer()
    }

    async fn set_strategy(&self, request: Request<SetStrategyRequest>) -> Answer<v1::StrategyConfig> {
        // Nobody was there to hear of it.
        self.answer()?;
        let wanted = strategy::strategy(request.into_inner().strategy.unwrap()).unwrap();
        let mut books = self.0.lock().unwrap();
        if books.refuses {
            return Err(Status::permission_denied("hands off"));
        }
        books.set.push(wanted.name());
        if !books.ignores {
            books.in_force = wanted;
        }
        drop(books);
        self.answer()
    }

    absent_but_strategies! {}
}

const BEFORE: StrategyConfig = StrategyConfig::Weighted { task_capacity: 0.25, cpu: 0.5, memory: 0.25 };

/// A coordinator, and a change of its strategy to `random`.
async fn changer() -> (Fake, Changer, Restored) {
    let fake = Fake::default();
    fake.0.lock().unwrap().in_force = BEFORE;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = ClusterServiceServer::new(fake.clone());
    tokio::spawn(
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let client = ClusterServiceClient::new(Endpoint::from_shared(url).unwrap().connect_lazy().into());
    let (changer, restored) = Changer::start(client, &StrategyConfig::Random);
    (fake, changer, restored)
}

impl Changer {
    async fn next(&mut self) -> Result<(), String> {
        match self.done.recv().await.unwrap() {
            Done::Made(_, result) | Done::Undone(_, result) => result,
        }
    }
}

#[tokio::test]
async fn a_change_is_made_and_exactly_what_was_before_is_put_back() {
    let (fake, mut changer, _) = changer().await;
    changer.make();
    assert_eq!(changer.next().await, Ok(()));
    assert_eq!(fake.name(), "random");
    changer.undo();
    assert_eq!(changer.next().await, Ok(()));
    assert_eq!(fake.0.lock().unwrap().in_force, BEFORE);
    assert_eq!(changer.close().await, Ok(()));
    assert_eq!(fake.set(), ["random", "weighted"], "it is put back once");
}

#[tokio::test]
async fn what_is_never_made_changes_nothing() {
    let (fake, changer, _) = changer().await;
    assert_eq!(changer.close().await, Ok(()));
    assert!(fake.set().is_empty());
}

#[tokio::test]
async fn a_coordinator_that_is_being_restarted_is_asked_again() {
    let (fake, mut changer, _) = changer().await;
    fake.0.lock().unwrap().unavailable = 2;
    changer.make();
    assert_eq!(changer.next().await, Ok(()));
    fake.0.lock().unwrap().unavailable = 3;
    changer.undo();
    assert_eq!(changer.next().await, Ok(()));
    assert_eq!(fake.name(), "weighted");
}

#[tokio::test]
async fn a_refusal_is_no_reason_to_ask_again() {
    let (fake, mut changer, _) = changer().await;
    fake.0.lock().unwrap().refuses = true;
    changer.make();
    let error = changer.next().await.unwrap_err();
    assert!(error.contains("hands off"), "{error}");
}

#[tokio::test]
async fn a_strategy_that_is_not_in_force_afterwards_was_not_set() {
    let (fake, mut changer, _) = changer().await;
    fake.0.lock().unwrap().ignores = true;
    changer.make();
    let error = changer.next().await.unwrap_err();
    assert!(error.contains("in force instead of"), "{error}");
}

#[tokio::test]
async fn a_run_that_is_dropped_leaves_the_coordinator_as_it_was() {
    let (fake, mut changer, restored) = changer().await;
    changer.make();
    assert_eq!(changer.next().await, Ok(()));
    drop(changer);
    restored.wait().await;
    assert_eq!(fake.name(), "weighted");
}

#[tokio::test]
async fn also_a_run_that_ends_while_the_change_is_being_made() {
    let (fake, changer, restored) = changer().await;
    fake.0.lock().unwrap().unavailable = 1;
    changer.make();
    drop(changer);
    restored.wait().await;
    assert_eq!((fake.name(), fake.set()), ("weighted", vec!["random", "weighted"]));
}
