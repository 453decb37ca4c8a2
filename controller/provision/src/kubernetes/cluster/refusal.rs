//! Why requests are not carried out, by what is done about it: the server's answers sorted, and how long a busy one is obeyed.

use std::time::Duration;

use crate::ProvisionError;

/// Longest wait that a busy server is granted.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(2);

/// Why a request was not carried out, by what is done about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::kubernetes) enum CallError {
    /// No answer: nothing is known of what it did.
    #[error("{operation}: {detail}")]
    Unreachable {
        /// What was tried.
        operation: &'static str,
        /// What happened.
        detail: String,
    },
    /// 409: somebody wrote in between, or it exists.
    #[error("{operation}: {detail}")]
    Conflict {
        /// What was tried.
        operation: &'static str,
        /// The server's message.
        detail: String,
    },
    /// 404.
    #[error("{operation}: not found")]
    NotFound {
        /// What was tried.
        operation: &'static str,
    },
    /// 410: a page or version that the server does not keep any more.
    #[error("{operation}: expired")]
    Expired {
        /// What was tried.
        operation: &'static str,
    },
    /// Refused for what it is: its content, or a right that is missing.
    #[error("{operation}: {detail}")]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// The server's code.
        code: u16,
        /// The server's message.
        detail: String,
    },
    /// An answer that cannot be read.
    #[error("{operation}: {detail}")]
    Malformed {
        /// What was tried.
        operation: &'static str,
        /// What is wrong with it.
        detail: String,
    },
}

impl From<CallError> for ProvisionError {
    fn from(error: CallError) -> Self {
        let detail = error.to_string();
        match error {
            CallError::Malformed { operation, detail } => Self::Malformed { operation, detail },
            CallError::Unreachable { operation, detail } => Self::Unreachable { operation, detail },
            CallError::Conflict { operation, .. }
            | CallError::NotFound { operation }
            | CallError::Expired { operation }
            | CallError::Refused { operation, .. } => Self::Unreachable { operation, detail },
        }
    }
}

/// How long a busy server wants to be left alone, if that is bearable.
pub(super) fn busy_wait(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else { return None };
    let details = status.details.as_ref();
    let asked = details.map_or(1, |details| details.retry_after_seconds);
    let wait = Duration::from_secs(u64::from(asked));
    (status.code == 429 && wait <= BUSY_WAIT_MAX).then_some(wait)
}

pub(super) fn sorted(operation: &'static str, error: kube::Error) -> CallError {
    let status = match error {
        kube::Error::Api(status) => status,
        kube::Error::SerdeError(error) => return CallError::Malformed { operation, detail: error.to_string() },
        error => {
            // The outermost text seldom says why.
            let mut detail = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                detail = format!("{detail}: {cause}");
                source = cause.source();
            }
            return CallError::Unreachable { operation, detail };
        }
    };
    let detail = status.message.clone();
    match status.code {
        404 => CallError::NotFound { operation },
        409 => CallError::Conflict { operation, detail },
        410 => CallError::Expired { operation },
        400..=499 if status.code != 429 => CallError::Refused { operation, code: status.code, detail },
        code => CallError::Unreachable { operation, detail: format!("{code}: {detail}") },
    }
}
