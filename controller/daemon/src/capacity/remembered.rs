//! What was stored before a restart, as a value again.

use serde::de::DeserializeOwned;

/// What was stored of `what`; as at the very first start where nothing was, or where another build wrote it otherwise.
pub(super) fn remembered<T: DeserializeOwned + Default>(what: &'static str, stored: Option<&str>) -> T {
    match stored.map(serde_json::from_str).transpose() {
        Ok(stored) => stored.unwrap_or_default(),
        Err(error) => {
            tracing::warn!(%error, "{what}: what is stored is of another build; it begins anew");
            T::default()
        }
    }
}
