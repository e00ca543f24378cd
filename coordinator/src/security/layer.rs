//! The one layer around all services: nobody reaches one without a [`Caller`] in the extensions of the request.
//!
//! With authentication off that is all that it does for calls that are over soon: one look at a table and one more thing in
//! the extensions; requests and answers pass as they are. Calls that last are held there too, for the day that it is
//! switched on. With it on, a call goes through the [gate](super::gate), and its request and answer are
//! [held](super::live) by its credential. Calls that change something are written down before they are made and after; see
//! [`super::audit`].

use std::{convert::Infallible, sync::Arc};

use evenkeel_shared::wire::status::to_status;
use futures_util::future::{BoxFuture, Either};
use tonic::{
    Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};

use super::{
    access::{self, Kept},
    audit,
    gate::{Admitted, Gate},
    live::{Held, no_longer},
};

/// A service that is asked through the gate.
#[derive(Clone)]
pub struct Secured<S> {
    service: S,
    gate: Gate,
}

impl<S> Secured<S> {
    /// This service, behind this gate.
    #[must_use]
    pub const fn new(service: S, gate: Gate) -> Self {
        Self { service, gate }
    }
}

impl<S: NamedService> NamedService for Secured<S> {
    const NAME: &'static str = S::NAME;
}

type Answered = Result<http::Response<Body>, Infallible>;

impl<S> Service<http::Request<Body>> for Secured<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Answered>>;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let kept = access::rule(request.uri().path()).map_or(Kept::Nothing, |rule| rule.2);
        let passes = kept == Kept::Nothing && !access::lasts(request.uri().path());
        if passes && !self.gate.is_on() {
            request.extensions_mut().insert(Arc::clone(self.gate.anybody()));
            return Either::Left(self.service.call(request));
        }
        let admitted = self.gate.admit(request.uri().path(), request.headers(), request.extensions());
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(error) => return answer(to_status(&error)),
        };
        let Admitted { caller, call, account } = admitted;
        let extensions = request.extensions_mut();
        extensions.insert(Arc::clone(&caller));
        if let Some(account) = account {
            extensions.insert(account);
        }
        let request = match &call {
            Some(call) => request.map(|body| Held::request(body, call)),
            None => request,
        };
        let answered: BoxFuture<'static, Answered> = if kept == Kept::Audited {
            Box::pin(audit::audited(self.gate.audit().clone(), caller, self.service.clone(), request))
        } else {
            Box::pin(self.service.call(request))
        };
        let Some(call) = call else { return Either::Right(answered) };
        Either::Right(Box::pin(async move {
            tokio::select! {
                biased;
                answered = answered => Ok(answered?.map(|body| Held::answer(body, &call))),
                () = call.ended() => Ok(no_longer().into_http()),
            }
        }))
    }
}

fn answer<F>(status: Status) -> Either<F, BoxFuture<'static, Answered>> {
    Either::Right(Box::pin(std::future::ready(Ok(status.into_http()))))
}
