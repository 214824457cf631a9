//! Who is asking: from a request's head to a key. Layers count by it, and each may add a key of its own.

mod extractor;
mod header;
mod identity;
mod peer;
mod rejection;

pub use self::extractor::KeyExtractor;
pub use self::header::Header;
pub use self::identity::Key;
pub use self::peer::{PeerAddr, PeerIp};
pub use self::rejection::MissingPeer;
