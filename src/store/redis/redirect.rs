use redis::RedisError;

use super::reply::Unexpected;
use crate::store::StoreError;
use crate::store::target::{Address, HostPort};

/// Why there is no reply, and where a cluster's node says that there would be one.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: StoreError,
    pub(super) redirect: Option<Redirect>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    /// From now on.
    Moved(HostPort),
    /// This once.
    Ask(HostPort),
    /// Later: the keys of one slot are in two places.
    TryAgain,
}

impl Redirect {
    /// Reads an error of the server at `from`.
    pub(super) fn of(error: &RedisError, from: &Address) -> Option<Redirect> {
        match error.code()? {
            "MOVED" => place(error, from).map(Redirect::Moved),
            "ASK" => place(error, from).map(Redirect::Ask),
            "TRYAGAIN" => Some(Redirect::TryAgain),
            _ => None,
        }
    }
}

/// A node that does not know what it is called leaves the host out; IPv6 has no brackets there.
fn place(error: &RedisError, from: &Address) -> Option<HostPort> {
    let (host, port) = error.redirect_node()?.0.rsplit_once(':')?;
    let host = match (host, from) {
        ("" | "?", Address::Tcp(from)) => &from.host,
        _ => host,
    };
    HostPort::new(host, port.parse().ok()?).ok()
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Failed {
        Failed { error, redirect: None }
    }
}

impl From<Unexpected> for Failed {
    fn from(unexpected: Unexpected) -> Failed {
        StoreError::from(unexpected).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_names_a_node_or_the_one_that_was_asked() {
        let asked = Address::Tcp(HostPort::new("redis.example", 6379).unwrap());
        for (reply, place) in [
            ("-MOVED 3999 127.0.0.1:6381\r\n", "127.0.0.1:6381"),
            ("-MOVED 3999 ::1:6381\r\n", "[::1]:6381"),
            ("-MOVED 3999 node-2.example:6381\r\n", "node-2.example:6381"),
            ("-MOVED 3999 :6381\r\n", "redis.example:6381"),
            ("-MOVED 3999 ?:6381\r\n", "redis.example:6381"),
        ] {
            let error = redis::parse_redis_value(reply.as_bytes()).unwrap().extract_error();
            let redirect = Redirect::of(&error.unwrap_err(), &asked);
            let place = HostPort::parse(place, 1).unwrap();
            assert_eq!(redirect, Some(Redirect::Moved(place)), "{reply}");
        }
    }
}
