//! Random histories: on every one of them the backends give the same answers, so each script does
//! what `policy/` decides and the in-process store does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use support::{RedisCluster, RedisServer};

use super::Store;
use super::keys::Fingerprint;
use super::place::{Namespace, Place};
use super::verbs::{self, *};
use crate::policy::Timestamp;
use crate::policy::caching::{Freshness, StoredResponse, Vary};
use crate::policy::session::{Changes, Fields, Record};

/// One act, on a few names so that acts meet.
#[derive(Clone, Debug)]
enum Act {
    Create {
        id: u8,
        value: u8,
    },
    Load {
        id: u8,
    },
    Save {
        id: u8,
        version: u32,
        value: u8,
        rotate_to: Option<u8>,
    },
    End {
        id: u8,
    },
    RevokeToken {
        token: u8,
    },
    RevokeSubject {
        subject: u8,
        until: u64,
    },
    Check {
        token: u8,
        subject: Option<u8>,
    },
    /// Remembers the last purge as of now.
    LookUp {
        response: u8,
    },
    /// As of the `seen`-th look-up. A response has the same tags each time it is stored.
    Keep {
        response: u8,
        uri: u8,
        seen: usize,
    },
    PurgeTag {
        tag: u8,
    },
    PurgeUri {
        uri: u8,
    },
    Acquire {
        lock: u8,
        holder: u8,
    },
    Renew {
        lock: u8,
        holder: u8,
    },
    Release {
        lock: u8,
        holder: u8,
    },
    /// One of the acts on values, by its number.
    OnValue {
        act: u8,
        place: u8,
        value: u8,
    },
    Batch {
        acts: Vec<(u8, u8, u8)>,
    },
}

fn acts() -> impl Strategy<Value = Act> {
    let name = 0u8..3;
    let maybe = prop::option::of(name.clone());
    prop_oneof![
        (name.clone(), 0u8..4).prop_map(|(id, value)| Act::Create { id, value }),
        name.clone().prop_map(|id| Act::Load { id }),
        (name.clone(), 0u32..4, 0u8..4, maybe.clone()).prop_map(|(id, version, value, to)| {
            // No layer rotates a session to the id it has.
            Act::Save { id, version, value, rotate_to: to.filter(|to| *to != id) }
        }),
        name.clone().prop_map(|id| Act::End { id }),
        name.clone().prop_map(|token| Act::RevokeToken { token }),
        (name.clone(), 0u64..1_000)
            .prop_map(|(subject, until)| Act::RevokeSubject { subject, until }),
        (name.clone(), maybe).prop_map(|(token, subject)| Act::Check { token, subject }),
        name.clone().prop_map(|response| Act::LookUp { response }),
        (name.clone(), name.clone(), 0usize..4).prop_map(|(response, uri, seen)| Act::Keep {
            response,
            uri,
            seen
        }),
        name.clone().prop_map(|tag| Act::PurgeTag { tag }),
        name.clone().prop_map(|uri| Act::PurgeUri { uri }),
        (name.clone(), name.clone()).prop_map(|(lock, holder)| Act::Acquire { lock, holder }),
        (name.clone(), name.clone()).prop_map(|(lock, holder)| Act::Renew { lock, holder }),
        (name.clone(), name.clone()).prop_map(|(lock, holder)| Act::Release { lock, holder }),
        (0u8..7, name.clone(), 0u8..6).prop_map(|(act, place, value)| Act::OnValue {
            act,
            place,
            value
        }),
        prop::collection::vec((0u8..5, name, 0u8..6), 1..6).prop_map(|acts| Act::Batch { acts }),
    ]
}

/// One backend in one history.
struct Run<'a> {
    store: &'a Store,
    history: u32,
    look_ups: Vec<LastPurge>,
}

const HOUR: Duration = Duration::from_secs(3_600);

const TEXTS: [&str; 6] = ["", "text", "7", "-7", "007", "9223372036854775807"];

const NUMBERS: [i64; 6] = [0, 1, -1, 7, i64::MAX, i64::MIN];

impl Run<'_> {
    fn name(&self, noun: &str, name: u8) -> Fingerprint {
        Fingerprint::of(&[noun.as_bytes(), &self.history.to_be_bytes(), &[name]])
    }

    fn place(&self, place: u8) -> Place {
        Namespace::new("things")
            .grouped(&self.history.to_string())
            .place(&place.to_string())
            .unwrap()
    }

    fn acts(&self, (act, place, value): (u8, u8, u8)) -> Vec<verbs::Act> {
        let (place, time_to_live) = (self.place(place), HOUR);
        let value = usize::from(value);
        let store = |text: &'static str, if_absent| {
            let (place, value) = (place.clone(), text.into());
            verbs::Act::Store { place, value, time_to_live, if_absent }
        };
        match act {
            0 => vec![verbs::Act::Delete { place }],
            1 => vec![verbs::Act::Expire { place, time_to_live }],
            2 => vec![store("0", true), verbs::Act::Add { place, by: NUMBERS[value] }],
            act => vec![store(TEXTS[value], act == 3)],
        }
    }

    /// A session's, which rotates within one slot.
    fn session(&self, name: u8) -> Fingerprint {
        let [_, shard @ ..] = self.history.to_be_bytes();
        Fingerprint::sharded(
            shard,
            &[b"session", &self.history.to_be_bytes()[..], &[name]].concat(),
        )
    }

    fn record(&self, version: u32, value: u8) -> Record {
        let fields = Fields::from_iter([("value".to_owned(), json!(value))]);
        Record { version, expires_at: Timestamp(u64::MAX / 2), fields }
    }

    fn stored(&self) -> Arc<StoredResponse> {
        let (head, ()) = http::Response::new(()).into_parts();
        let vary = Vary::of(&head.headers, &head.headers).unwrap();
        let freshness = Freshness { lifetime: HOUR, age_on_arrival: Duration::ZERO };
        let mut stored = StoredResponse::new(&head, vary, freshness, Timestamp(7), 7);
        stored.body = Bytes::from_static(b"body");
        Arc::new(stored)
    }

    /// The answer, as far as it is the same on every backend.
    async fn answer(&mut self, act: &Act) -> String {
        let store = self.store;
        match *act {
            Act::Create { id, value } => {
                let (id, record) = (self.session(id), self.record(0, value));
                let create = CreateSession { id, record, time_to_live: HOUR };
                format!("{:?}", store.ask(create).await)
            }
            Act::Load { id } => {
                let load = LoadSession { id: self.session(id), idle: HOUR, max_size: 1 << 10 };
                format!("{:?}", store.ask(load).await)
            }
            Act::Save { id, version, value, rotate_to } => {
                let before = self.record(version, 0);
                let mut changes = Changes::default();
                changes.set("value", json!(value));
                let save = SaveSession {
                    id: self.session(id),
                    rotate_to: rotate_to.map(|to| self.session(to)),
                    from: before.version_tag(),
                    record: before.next(&changes),
                    time_to_live: HOUR,
                    max_size: 1 << 10,
                };
                format!("{:?}", store.ask(save).await)
            }
            Act::End { id } => {
                format!("{:?}", store.ask(EndSession { id: self.session(id) }).await)
            }
            Act::RevokeToken { token } => {
                let token = self.name("token", token);
                format!("{:?}", store.ask(RevokeToken { token, time_to_live: HOUR }).await)
            }
            Act::RevokeSubject { subject, until } => {
                let subject = self.name("subject", subject);
                let until = Some(Timestamp(until));
                format!("{:?}", store.ask(RevokeSubject { subject, until }).await)
            }
            Act::Check { token, subject } => {
                let token = self.name("token", token);
                let subject = subject.map(|subject| self.name("subject", subject));
                format!("{:?}", store.ask(CheckRevoked { token, subject }).await)
            }
            Act::LookUp { response } => {
                let response = self.name("response", response);
                let found = store.ask(LoadResponse { response }).await.unwrap();
                self.look_ups.push(found.last_purge);
                format!("{:?}", found.response)
            }
            Act::Keep { response, uri, seen } => {
                let Some(&seen) = self.look_ups.get(seen) else { return String::new() };
                let keep = StoreResponse {
                    response: self.name("response", response),
                    uri: self.name("response", uri),
                    tags: (0..response).map(|tag| self.name("tag", tag)).collect(),
                    stored: self.stored(),
                    seen,
                };
                format!("{:?}", store.ask(keep).await)
            }
            Act::PurgeTag { tag } => {
                format!("{:?}", store.purge_tag(self.name("tag", tag)).await)
            }
            Act::PurgeUri { uri } => {
                format!("{:?}", store.ask(PurgeUri { uri: self.name("response", uri) }).await)
            }
            Act::Acquire { lock, holder } => {
                let (name, holder) = (self.name("lock", lock), Holder([holder; 16]));
                let number = store.ask(AcquireLock { name, holder, time_to_live: HOUR }).await;
                // The numbers are as high as the clocks, which differ.
                format!("{:?}", number.map(|number| number.is_some()))
            }
            Act::Renew { lock, holder } => {
                let (name, holder) = (self.name("lock", lock), Holder([holder; 16]));
                format!("{:?}", store.ask(RenewLock { name, holder, time_to_live: HOUR }).await)
            }
            Act::Release { lock, holder } => {
                let (name, holder) = (self.name("lock", lock), Holder([holder; 16]));
                format!("{:?}", store.ask(ReleaseLock { name, holder }).await)
            }
            Act::OnValue { act, place, value } => self.on_value(act, place, value).await,
            Act::Batch { ref acts } => {
                let acts = acts.iter().flat_map(|act| self.acts(*act)).collect();
                format!("{:?}", store.ask(Batch { acts }).await)
            }
        }
    }
}

impl Run<'_> {
    async fn on_value(&self, act: u8, place: u8, value: u8) -> String {
        let (store, place) = (self.store, self.place(place));
        let (text, by) = (TEXTS[usize::from(value)], NUMBERS[usize::from(value)]);
        let (value, values) = (text.into(), vec![(place.clone(), text.into())]);
        match act {
            0 => format!("{:?}", store.ask(LoadValues { places: vec![place] }).await),
            1 => format!("{:?}", store.ask(TakeValue { place }).await),
            2 => format!("{:?}", store.ask(DeleteValues { places: vec![place] }).await),
            3 => format!("{:?}", store.ask(DeleteValuesIf { values }).await),
            4 => {
                format!("{:?}", store.ask(Increment { place, by, time_to_live: HOUR }).await)
            }
            act => {
                let if_absent = act == 5;
                let set = StoreValue { place, value, time_to_live: HOUR, if_absent };
                format!("{:?}", store.ask(set).await)
            }
        }
    }
}

#[test]
fn every_backend_gives_the_same_answers() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (server, cluster) = (RedisServer::start(), RedisCluster::start());
    let memory = Store::memory();
    let connect = |url: &str| {
        let patient = Store::builder().deadline(Duration::from_secs(5));
        runtime.block_on(patient.connect(url)).unwrap()
    };
    let (redis, cluster_store) = (connect(&server.url()), connect(&cluster.url()));
    let histories = std::cell::Cell::new(0);
    let config = Config { failure_persistence: None, cases: 300, ..Config::default() };
    TestRunner::new(config)
        .run(&prop::collection::vec(acts(), 1..60), |acts| {
            histories.set(histories.get() + 1);
            let [mut memory, mut redis, mut cluster] = [&memory, &redis, &cluster_store]
                .map(|store| Run { store, history: histories.get(), look_ups: Vec::new() });
            for act in &acts {
                let answers = runtime.block_on(async {
                    tokio::join!(memory.answer(act), redis.answer(act), cluster.answer(act))
                });
                prop_assert_eq!(&answers.0, &answers.1, "one server: {:?}", act);
                prop_assert_eq!(&answers.0, &answers.2, "a cluster: {:?}", act);
            }
            Ok(())
        })
        .unwrap();
}
