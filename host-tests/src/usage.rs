//! What the upstream answers where a request's path asks for an answer that says what it cost, as LLM servers do.
//!
//! | path | answer |
//! |---|---|
//! | `/json/<input>/<output>` | a JSON document with these numbers of tokens |
//! | `/sse/<events>/<ms>/<tokens>` | so many events, one per so many milliseconds (at least 1), each with the running total of so many tokens more |

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use tokio::time::{Interval, interval};

/// The body of any answer.
pub type AnswerBody = Either<Full<Bytes>, Events>;

/// Server-sent events over time.
#[derive(Debug)]
pub struct Events {
    pace: Interval,
    sent: u64,
    events: u64,
    tokens: u64,
}

/// The answer that a path asks for.
pub fn answer(path: &str) -> Option<hyper::Response<AnswerBody>> {
    let mut parts = path.split('/').skip(1);
    let kind = parts.next()?;
    let numbers: Vec<u64> = parts.map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let (content_type, body) = match (kind, numbers.as_slice()) {
        ("json", [input, output]) => {
            let usage = format!(r#"{{"text":"hello","usage":{{"input_tokens":{input},"output_tokens":{output}}}}}"#);
            ("application/json", Either::Left(Full::new(Bytes::from(usage))))
        }
        ("sse", [events, ms, tokens]) => {
            let pace = interval(Duration::from_millis((*ms).max(1)));
            ("text/event-stream", Either::Right(Events { pace, sent: 0, events: *events, tokens: *tokens }))
        }
        _ => return None,
    };
    let mut response = hyper::Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Some(response)
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.sent == self.events {
            return Poll::Ready(None);
        }
        ready!(self.pace.poll_tick(cx));
        self.sent += 1;
        let total = self.sent * self.tokens;
        let event = format!("data: {{\"delta\":\"hi\",\"usage\":{{\"output_tokens\":{total}}}}}\n\n");
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(event)))))
    }
}
