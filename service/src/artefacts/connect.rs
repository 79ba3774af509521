//! `object_store`'s way out is ours: the TLS that is here already, instead of a second HTTP client with a second one.

use crate::outgoing::{Outgoing, OutgoingError};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};

#[derive(Debug)]
pub(super) struct Connector(pub(super) Outgoing);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Client(self.0.clone())))
    }
}

#[derive(Debug)]
struct Client(Outgoing);

impl HttpService for Client {
    fn call<'a, 'b>(&'a self, request: HttpRequest) -> BoxFuture<'b, Result<HttpResponse, HttpError>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let answer = self.0.call(request).await.map_err(|error| HttpError::new(kind(&error), error))?;
            Ok(answer.map(|body| {
                HttpResponseBody::new(body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error)))
            }))
        })
    }
}

/// What may be tried again follows from this.
fn kind(error: &OutgoingError) -> HttpErrorKind {
    match error {
        OutgoingError::Address => HttpErrorKind::Unknown,
        OutgoingError::Connect(_) => HttpErrorKind::Connect,
        OutgoingError::Http(_) => HttpErrorKind::Request,
        OutgoingError::Late => HttpErrorKind::Timeout,
    }
}
