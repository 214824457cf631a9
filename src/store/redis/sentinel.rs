use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use redis::Value;

use super::endpoint::{Access, Endpoint};
use super::reply::{self, Unexpected};
use super::supervisor::DIAL;
use crate::policy::breaker::backoff;
use crate::store::StoreError;
use crate::store::error::Kind;
use crate::store::target::{Address, HostPort};

/// The Sentinels that know which server is the primary.
pub(super) struct Sentinels {
    places: Vec<HostPort>,
    service: String,
    /// To the Sentinels themselves.
    access: Access,
    /// For one question to one Sentinel.
    timeout: Duration,
    /// To the servers that they name.
    servers: Access,
    /// Where a Sentinel has last said that the primary is now.
    latest: Mutex<Option<HostPort>>,
}

const TIMEOUT: Duration = Duration::from_millis(500);

const NO_SENTINEL: &str = "it is no Sentinel: use redis://";

impl Sentinels {
    pub(super) fn new(
        places: Vec<HostPort>,
        service: String,
        timeout: Option<Duration>,
        access: Access,
        servers: Access,
    ) -> Sentinels {
        // Of an attempt, half is left for the server that they name: one Sentinel may hang.
        let timeout = timeout.unwrap_or(TIMEOUT).min(DIAL / 2);
        Sentinels { places, service, access, timeout, servers, latest: Mutex::default() }
    }

    pub(super) fn service(&self) -> &str {
        &self.service
    }

    /// Asks all Sentinels at once, and believes what most of them say: after a failover one may
    /// still name the server of before.
    pub(super) async fn locate(&self) -> Result<Endpoint, StoreError> {
        let mut answers: FuturesUnordered<_> =
            self.places.iter().map(|place| self.ask(place)).collect();
        let majority = self.places.len() / 2 + 1;
        let mut votes = HashMap::<HostPort, usize>::new();
        let mut failed = None;
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(primary) => {
                    let named = votes.entry(primary).or_default();
                    *named += 1;
                    if *named >= majority {
                        break;
                    }
                }
                Err(error) => failed = Some(error.or_telling(failed)),
            }
        }
        match elected(votes, self.latest().as_ref()) {
            Some(place) => Ok(self.servers.at(&place)),
            None => Err(failed.unwrap_or(StoreError::new(Kind::Unavailable))),
        }
    }

    async fn ask(&self, place: &HostPort) -> Result<HostPort, StoreError> {
        let endpoint = self.access.at(place);
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.service);
        let asking = endpoint.ask(&question, NO_SENTINEL);
        let asked = tokio::time::timeout(self.timeout, asking).await;
        let reply = asked.unwrap_or_else(|_| Err(endpoint.error(Kind::Timeout)));
        let reply = reply.map_err(|error| match error {
            error if error.is_unauthorized() => {
                error.of("it is the Sentinel's own, sentinel_user and sentinel_password:")
            }
            error if error.is_wrong_topology() => error,
            error => error.of("the Sentinel"),
        })?;
        match reply {
            Value::Nil => {
                let unknown = format!("the Sentinels know no service {:?}", self.service);
                Err(StoreError::about(Kind::WrongTopology, unknown))
            }
            named => Ok(primary(named).ok_or(Unexpected)?),
        }
    }

    /// Calls `moved` with the primary's place whenever a Sentinel says that it is another one now.
    /// Listens to all of them: one may hang, and each finds out at another time. Endless.
    pub(super) async fn watch(&self, moved: impl Fn(&HostPort)) {
        join_all(self.places.iter().map(|place| self.listen(place, &moved))).await;
    }

    async fn listen(&self, place: &HostPort, moved: &impl Fn(&HostPort)) {
        let endpoint = self.access.at(place);
        let subscribe = async || {
            let mut pubsub = endpoint.pubsub().await.ok()?;
            pubsub.subscribe("+switch-master").await.ok()?;
            Some(pubsub.into_on_message())
        };
        let mut attempt = 0;
        loop {
            if let Ok(Some(mut messages)) = tokio::time::timeout(self.timeout, subscribe()).await {
                attempt = 0;
                // Whatever happened before somebody listened.
                if let Ok(Endpoint { address: Address::Tcp(place), .. }) = self.locate().await {
                    moved(&place);
                }
                while let Some(message) = messages.next().await {
                    if let Some(place) = self.switched(message.get_payload_bytes()) {
                        *self.latest() = Some(place.clone());
                        moved(&place);
                    }
                }
            }
            tokio::time::sleep(backoff(attempt, fastrand::f64())).await;
            attempt = attempt.saturating_add(1);
        }
    }

    /// Reads `service old-host old-port new-host new-port`.
    fn latest(&self) -> MutexGuard<'_, Option<HostPort>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn switched(&self, message: &[u8]) -> Option<HostPort> {
        let mut words = std::str::from_utf8(message).ok()?.split(' ');
        if words.next()? != self.service {
            return None;
        }
        HostPort::new(words.nth(2)?, words.next()?.parse().ok()?).ok()
    }
}

/// Whom most name. Where two are named by as many, one of these Sentinels has not heard of the
/// failover that another one has told of: going back to the old primary would lose what is written
/// there.
fn elected(votes: HashMap<HostPort, usize>, latest: Option<&HostPort>) -> Option<HostPort> {
    let elected = votes.into_iter().max_by_key(|(it, named)| (*named, Some(it) == latest));
    elected.map(|(place, _)| place)
}

fn primary(reply: Value) -> Option<HostPort> {
    let [host, port] = reply::array(reply).ok()?.map(|part| reply::bytes(part).ok().flatten());
    let (host, port) = (String::from_utf8(host?).ok()?, String::from_utf8(port?).ok()?);
    HostPort::new(&host, port.parse().ok()?).ok()
}

/// Never a log-in.
impl fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: Vec<String> = self.places.iter().map(HostPort::to_string).collect();
        f.debug_struct("Sentinels")
            .field("places", &places)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_that_are_named_by_as_many_it_is_the_one_of_the_last_switch() {
        let [old, new, other] = [1, 2, 3].map(|port| HostPort::new("redis", port).unwrap());
        let votes = |named: &[(&HostPort, usize)]| {
            named.iter().map(|(place, named)| ((*place).clone(), *named)).collect()
        };
        // A map is in another order each time.
        for _ in 0..50 {
            let tied = votes(&[(&old, 1), (&new, 1)]);
            assert_eq!(elected(tied, Some(&new)).as_ref(), Some(&new));
            let most = votes(&[(&old, 2), (&new, 1)]);
            assert_eq!(elected(most, Some(&new)).as_ref(), Some(&old));
            let gone = votes(&[(&old, 1), (&new, 2)]);
            assert_eq!(elected(gone, Some(&other)).as_ref(), Some(&new));
        }
        assert_eq!(elected(HashMap::new(), Some(&new)), None);
    }
}
