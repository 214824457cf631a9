use super::Verb;
use crate::policy::monitoring::ServerInfo;
use crate::store::StoreError;

/// What the store says about itself; of a cluster, every server that holds keys. Never fails for
/// what is unknown, new or garbled in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadInfo {
    /// Whether to ask for the one setting as well that the rest does not show: whether snapshots
    /// are due. Many a user may not read settings, and a server notes each refusal.
    pub(crate) with_settings: bool,
}

/// The answer to [`ReadInfo`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reported {
    /// But for the time it took, which is the caller's to measure. Withheld, or the error that the
    /// server gave in its place.
    pub(crate) info: Result<ServerInfo, StoreError>,
    /// Whether settings were asked for and refused.
    pub(crate) settings_refused: bool,
}

impl Verb for ReadInfo {
    const NAME: &'static str = "read_info";

    type Answer = Reported;
}
