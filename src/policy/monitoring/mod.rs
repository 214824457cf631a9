//! What a server says about itself, and what that means for the one who looks after it.

mod assessment;
mod byte_size;
mod cluster;
mod finding;
mod interval;
mod server_info;

pub use self::assessment::{Contents, Status};
pub(crate) use self::assessment::{Demands, Observed, assess};
pub use self::byte_size::ByteSize;
pub use self::finding::{Finding, MemoryBasis, Severity};
pub use self::interval::Interval;
pub use self::server_info::{
    EvictionPolicy, Lookups, MemoryLimit, MemoryUse, Mode, Persistence, Replication, Role,
    ServerInfo, ShelfInfo, Software, Traffic,
};
