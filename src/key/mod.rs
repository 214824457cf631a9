//! Who is asking: from a request's head to a key. Layers count by it, and some add a key of their
//! own: they know this folder, and it knows none of them.

mod addresses;
mod client_ip;
mod combined;
mod extractor;
mod forwarding;
mod header;
mod identity;
mod matcher;
mod method;
mod peer;
mod rejection;
mod route;

pub use self::addresses::{Addresses, InvalidAddress};
pub use self::client_ip::{AddressIsIn, ClientIp};
pub use self::combined::Or;
pub use self::extractor::{KeyExtractor, KeyFuture};
#[cfg(fuzzing)]
pub(crate) use self::forwarding::fuzz as fuzz_forwarding;
pub use self::header::{Header, HeaderIsOneOf};
pub use self::identity::Key;
pub use self::matcher::RequestMatcher;
pub use self::method::ByMethod;
pub use self::peer::{PeerAddr, PeerIp};
pub use self::rejection::{KeyError, MissingPeer};
pub use self::route::MatchedRoute;
