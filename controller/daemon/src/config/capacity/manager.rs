//! Who keeps the instances: `capacity.manager`.

use serde::Deserialize;

use crate::config::file::Problem;

/// Who keeps the instances.
#[derive(Clone, Debug)]
pub(crate) enum ManagerSettings {
    /// Nobody: what would be done is said.
    DryRun,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum ManagerPart {
    DryRun,
}

impl ManagerPart {
    pub(super) fn check(self) -> Result<ManagerSettings, Problem> {
        match self {
            Self::DryRun => Ok(ManagerSettings::DryRun),
        }
    }
}
