//! What stands against a request, as a problem document (RFC 9457): `application/problem+json` with a status, a title, what
//! is wrong here and what to do, and the constraint where one stands against it.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use forebay_plan::Key;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::capacity::asks::Denied;

/// A problem document (RFC 9457).
#[derive(Debug, PartialEq)]
pub(crate) struct Problem {
    pub(super) status: StatusCode,
    pub(super) title: &'static str,
    pub(super) detail: String,
    pub(super) constraint: Option<&'static str>,
}

impl Problem {
    pub(crate) fn bad(detail: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, title: "The request makes no sense", detail, constraint: None }
    }

    /// Nobody contracted this key.
    pub(super) fn no_such_key(key: &Key) -> Self {
        let detail = format!("{key} has no contract; GET /v1/forecasts lists the keys");
        Self { status: StatusCode::NOT_FOUND, title: "There is no such thing", detail, constraint: Some("key") }
    }

    /// The store did not say what was asked of it.
    pub(super) fn unreadable(error: &str) -> Self {
        let detail = format!("{error}; the controller's log may say more, ask again");
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            title: "The history cannot be read",
            detail,
            constraint: None,
        }
    }

    /// Something is not there yet.
    pub(super) fn not_yet(detail: impl Into<String>) -> Self {
        let (status, title) = (StatusCode::SERVICE_UNAVAILABLE, "Nothing is known yet");
        Self { status, title, detail: detail.into(), constraint: None }
    }

    pub(super) fn nothing_provisioned() -> Self {
        let detail =
            "this controller provisions nothing; declare services under capacity in its configuration".to_owned();
        Self { status: StatusCode::NOT_FOUND, title: "Nothing is provisioned", detail, constraint: None }
    }
}

/// A path that nothing is under.
pub(super) async fn no_such_path(uri: Uri) -> Problem {
    let detail = format!("nothing is under {}; the paths are /healthz, /readyz, /metrics and those of /v1", uri.path());
    Problem { status: StatusCode::NOT_FOUND, title: "There is no such thing", detail, constraint: None }
}

/// A path that does not take this method.
pub(super) async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {method}; the header allow has what it takes", uri.path());
    Problem { status: StatusCode::METHOD_NOT_ALLOWED, title: "That cannot be done to it", detail, constraint: None }
}

/// What a query string says.
pub(super) struct FromQuery<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for FromQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::from_request_parts(parts, state).await;
        query.map(|Query(asked)| Self(asked)).map_err(|refused| Problem::bad(refused.body_text()))
    }
}

/// The query of what takes none: a misspelt limit that is silently ignored is a limit that is not there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// The one name in a path.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name)).map_err(|refused| Problem::bad(refused.body_text()))
    }
}

/// A body, as bytes.
pub(crate) struct Sent(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = Bytes::from_request(request, state).await;
        body.map(Self).map_err(|refused| Problem { status: refused.status(), ..Problem::bad(refused.body_text()) })
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let detail = denied.to_string();
        let (status, title, constraint) = match denied {
            Denied::Unknown { what, .. } => (StatusCode::NOT_FOUND, "There is no such thing", Some(what)),
            Denied::Wrong(_) => (StatusCode::BAD_REQUEST, "The request makes no sense", None),
            Denied::Impossible { constraint, .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "It cannot be had", Some(constraint))
            }
            Denied::StoodDown { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "Another controller keeps the capacity", None)
            }
            Denied::NotSeen => (StatusCode::SERVICE_UNAVAILABLE, "Nothing is known yet", None),
            Denied::NotStored => (StatusCode::SERVICE_UNAVAILABLE, "It is not written down", None),
            Denied::Conflict(_) => (StatusCode::CONFLICT, "It contradicts what is there", None),
        };
        Self { status, title, detail, constraint }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": "about:blank", "title": self.title, "status": self.status.as_u16(), "detail": self.detail,
        });
        if let Some(constraint) = self.constraint {
            body["constraint"] = json!(constraint);
        }
        (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
    }
}
