use std::time::Duration;

use redis::Value;

use super::command::{Command, DELETE_IF, LOCK, RENEW, millis};
use super::{OnRedis, Request, Unexpected, reply};
use crate::store::keys::Keys;
use crate::store::verbs::{AcquireLock, ReleaseLock, RenewLock};

/// The last fencing number only matters while the server's clock could be behind it.
const NUMBER_MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

impl OnRedis for AcquireLock {
    fn request(&self, keys: &Keys) -> Request {
        Command::script(&LOCK, &[keys.lock(&self.name), keys.lock_number(&self.name)])
            .arg(&self.holder.0[..])
            .arg(millis(self.time_to_live))
            .arg(millis(NUMBER_MEMORY))
            .into()
    }

    fn answer(reply: Value) -> Result<Option<u64>, Unexpected> {
        let number = reply::count(&reply)?;
        Ok((number > 0).then_some(number))
    }
}

impl OnRedis for RenewLock {
    fn request(&self, keys: &Keys) -> Request {
        Command::script(&RENEW, &[keys.lock(&self.name)])
            .arg(&self.holder.0[..])
            .arg(millis(self.time_to_live))
            .into()
    }

    fn answer(reply: Value) -> Result<bool, Unexpected> {
        reply::is_one(&reply)
    }
}

impl OnRedis for ReleaseLock {
    fn request(&self, keys: &Keys) -> Request {
        Command::script(&DELETE_IF, &[keys.lock(&self.name)]).arg(&self.holder.0[..]).into()
    }

    fn answer(reply: Value) -> Result<bool, Unexpected> {
        reply::is_one(&reply)
    }
}

#[cfg(test)]
mod tests {
    use support::RedisServer;

    use super::*;
    use crate::store::keys::Fingerprint;
    use crate::store::verbs::Holder;

    fn acquire(connection: &mut redis::Connection, keys: &Keys, name: Fingerprint) -> Option<u64> {
        let time_to_live = Duration::from_secs(30);
        let acquire = AcquireLock { name, holder: Holder::random(), time_to_live };
        let Request::One(command) = acquire.request(keys) else { panic!("one command") };
        AcquireLock::answer(command.query(connection)).unwrap()
    }

    #[test]
    fn the_number_rises_though_the_clock_goes_back_or_the_number_is_lost() {
        let server = RedisServer::start();
        let client = redis::Client::open(server.url()).unwrap();
        let connection = &mut client.get_connection().unwrap();
        let (keys, name) = (Keys::new("kit"), Fingerprint::of(&[b"a lock"]));
        let (lock, last) = (keys.lock(&name), keys.lock_number(&name));
        let mut before = 0;
        // A clock that was 31 years ahead, then an expired number, then garbage in its place.
        for (number, expected) in [
            (Some("3000000000000000"), Some(3_000_000_000_000_001)),
            (None, None),
            (Some("garbage"), None),
            (Some(""), None),
        ] {
            server.command(&["DEL", &lock, &last]);
            if let Some(number) = number {
                server.command(&["SET", &last, number]);
            }
            let number = acquire(connection, &keys, name).expect("nobody holds it");
            match expected {
                Some(expected) => assert_eq!(number, expected),
                None => assert!(number > before && number < 3_000_000_000_000_000),
            }
            before = if expected.is_some() { before } else { number };
            assert_eq!(acquire(connection, &keys, name), None);
            assert!((1..=30_000).contains(&server.ttl_ms(&lock)));
            assert!((1..=86_400_000).contains(&server.ttl_ms(&last)));
        }
    }

    #[test]
    fn the_keys_of_one_lock_are_in_one_cluster_slot() {
        let (keys, name) = (Keys::new("kit"), Fingerprint::of(&[b"a lock"]));
        let tag = |key: String| {
            let (_, rest) = key.split_once('{').expect("a hash tag");
            rest.split_once('}').expect("its end").0.to_owned()
        };
        assert_eq!(tag(keys.lock(&name)), tag(keys.lock_number(&name)));
        assert_ne!(tag(keys.lock(&name)), tag(keys.lock(&Fingerprint::of(&[b"another"]))));
    }
}
