//! Puts the [`Store`](crate::Store) into a request's extensions and finds it there: the one place
//! that does either.

mod extract;
mod layer;
mod rejection;
mod service;

pub use self::layer::StoreLayer;
pub use self::rejection::MissingStore;
pub use self::service::ProvideStore;
pub(crate) use self::service::{find, target};
