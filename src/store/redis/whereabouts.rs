use std::fmt;
use std::sync::Arc;

use super::endpoint::Endpoint;
use super::sentinel::Sentinels;
use crate::store::StoreError;

/// Where the server is that a connection is for, found anew for each attempt.
#[derive(Clone, Debug)]
pub(super) enum Whereabouts {
    Fixed(Endpoint),
    Sentinel(Arc<Sentinels>),
}

impl Whereabouts {
    pub(super) async fn locate(&self) -> Result<Endpoint, StoreError> {
        match self {
            Whereabouts::Fixed(endpoint) => Ok(endpoint.clone()),
            Whereabouts::Sentinel(sentinels) => sentinels.locate().await,
        }
    }
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whereabouts::Fixed(endpoint) => write!(f, "{}", endpoint.address),
            Whereabouts::Sentinel(sentinels) => write!(f, "{}", sentinels.service()),
        }
    }
}
