//! What a server speaks that hung up, or kept silent: for an error that says what to change.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::store::target::HostPort;

/// How long it may take to show what it speaks.
const LIMIT: Duration = Duration::from_millis(300);

/// Whether it speaks TLS: then it complains about an empty `ClientHello`, in TLS.
pub(super) async fn answers_tls(place: &HostPort) -> bool {
    const EMPTY: &[u8] = &[0x16, 3, 1, 0, 4, 1, 0, 0, 0];
    const ALERT: u8 = 0x15;
    first_byte(place, EMPTY).await == Some(ALERT)
}

/// Whether it speaks Redis's protocol in the clear, be it to say that a password is missing.
#[cfg(feature = "tls")]
pub(super) async fn answers_ping(place: &HostPort) -> bool {
    matches!(first_byte(place, b"PING\r\n").await, Some(b'+' | b'-'))
}

async fn first_byte(place: &HostPort, greeting: &[u8]) -> Option<u8> {
    let asking = async {
        let mut tcp = TcpStream::connect((place.host.as_str(), place.port)).await?;
        tcp.write_all(greeting).await?;
        tcp.read_u8().await
    };
    tokio::time::timeout(LIMIT, asking).await.ok()?.ok()
}
