//! The rows: what goes wrong, how it is put on a server and lifted, and what each column does then.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use support::RedisServer;
use tower_redis_kit::StoreError;

use crate::bench::{Bench, Way, away};
use crate::columns::{COLUMNS, Column, Seen, Why};
use crate::report::Report;
use crate::special;
use crate::stands::{Cell, DEADLINE, always};

use Column::*;
use Seen::{Absent, Policy, Served, Taken};
use Why::{Forbidden, Full, NotACounter, Reply, Timeout, Unavailable, Untold};

pub(crate) struct Row {
    /// The module of its tests.
    pub(crate) name: &'static str,
    /// What the page calls it.
    pub(crate) title: &'static str,
    /// What the page says besides.
    pub(crate) text: &'static str,
    pub(crate) cell: fn(Column) -> Cell,
    pub(crate) run: Run,
}

pub(crate) enum Run {
    Away(Away),
    Partly(Partly),
    Special(fn() -> Pin<Box<dyn Future<Output = Report>>>),
}

/// A fault that concerns all commands alike.
pub(crate) struct Away {
    pub(crate) way: Way,
    pub(crate) server: fn() -> RedisServer,
    pub(crate) begin: fn(&mut Bench),
    pub(crate) end: fn(&mut Bench),
    /// Whether the breaker is open from the fourth call on, until the fault is over.
    pub(crate) opens: bool,
    pub(crate) comes_back_empty: bool,
    /// What `Store::health` says meanwhile, once an attempt to connect has failed.
    pub(crate) says: fn(&StoreError) -> bool,
    /// Whether attempts to connect hang, so that all trials but the last are cut short.
    pub(crate) is_silence: bool,
    /// Within this all stores are up again, in every trial.
    pub(crate) recovery: Duration,
}

/// A fault that speaks of some commands or keys only.
pub(crate) struct Partly {
    pub(crate) server: fn() -> RedisServer,
    pub(crate) login: &'static str,
    pub(crate) begin: fn(&mut Bench),
    pub(crate) before_each: fn(&mut Bench),
    pub(crate) end: fn(&mut Bench),
    /// Whether keys were replaced, so that no ledger can be balanced.
    pub(crate) tampers: bool,
}

const DIRECT: Way = Way { by_proxy: false, login: "", by_credentials: false, patient: false };
const BY_PROXY: Way = Way { by_proxy: true, ..DIRECT };

/// The longest wait between two attempts to connect, and time to connect on a busy machine.
const SOON: Duration = Duration::from_millis(1_500);
/// As [`SOON`], and an attempt that fell into a silence is given up after two seconds.
const AFTER_SILENCE: Duration = Duration::from_millis(4_500);

const AWAY: Away = Away {
    way: DIRECT,
    server: RedisServer::start,
    begin: nothing,
    end: nothing,
    opens: true,
    comes_back_empty: false,
    says: StoreError::is_unavailable,
    is_silence: false,
    recovery: SOON,
};

/// Nothing is answered, and neither is an attempt to connect.
const SILENCE: Away =
    Away { says: StoreError::is_timeout, is_silence: true, recovery: AFTER_SILENCE, ..AWAY };

const PARTLY: Partly = Partly {
    server: RedisServer::start,
    login: "",
    begin: nothing,
    before_each: nothing,
    end: nothing,
    tampers: false,
};

pub(crate) static ROWS: &[Row] = &[
    Row {
        name: "killed",
        title: "Redis is killed (SIGKILL), and started again",
        text: "The connections end at once, and with them the breakers are open before the next call.",
        cell: lost,
        run: Run::Away(Away {
            begin: |bench| bench.server.stop(),
            end: |bench| {
                // By then the attempts to connect are as rare as they get.
                std::thread::sleep(Duration::from_millis(600));
                bench.server.start_again();
            },
            comes_back_empty: true,
            says: StoreError::is_refused,
            ..AWAY
        }),
    },
    Row {
        name: "killed_mid_pipeline",
        title: "the connection ends in the middle of a reply",
        text: "What was sent may have been done: an error, and no repetition. The next connection is \
               made within milliseconds. A lock or a permit that was taken by such a request is given \
               back then.",
        cell: |column| match column {
            Lock => always(&[Policy(Unavailable), Served, Taken]),
            _ => always(&[Policy(Unavailable), Served]),
        },
        run: Run::Special(|| Box::pin(special::mid_pipeline())),
    },
    Row {
        name: "reset",
        title: "connections are reset (RST), and new ones refused",
        text: "",
        cell: lost,
        run: Run::Away(Away {
            way: BY_PROXY,
            begin: |bench| {
                bench.proxy.refuse(true);
                bench.proxy.reset();
            },
            end: |bench| bench.proxy.refuse(false),
            ..AWAY
        }),
    },
    Row {
        name: "client_kill",
        title: "`CLIENT KILL`",
        text: "A new connection is made within milliseconds. Calls in between are at their policy.",
        cell: |_| always(&[Served, Policy(Unavailable)]),
        run: Run::Away(Away {
            begin: |bench| assert!(bench.server.kill_clients() > 0),
            opens: false,
            ..AWAY
        }),
    },
    Row {
        name: "restarted_empty",
        title: "Redis comes back empty",
        text: "What Redis forgets is forgotten: give it persistence where that matters. A limit begins \
               anew, though who is under way takes its permit again when that is renewed, and a revoked \
               token passes. Fencing numbers still rise, by the clock. Nobody's old data come back by \
               the kit.",
        cell: |column| match column {
            LimitLocal | PermitLocal => always(&[Absent, Policy(Untold)]),
            TokenAllow => always(&[Policy(Untold)]),
            CacheHit => Cell { first: &[Absent], then: &[Served] },
            ValueCompute => Cell { first: &[Policy(Untold)], then: &[Served] },
            CacheMiss | ValueSet | Increment | Lock => always(&[Served]),
            _ => always(&[Absent]),
        },
        run: Run::Partly(Partly {
            begin: |bench| bench.server.start_again(),
            end: |bench| drop(bench.server.command(&["FLUSHALL"])),
            tampers: true,
            ..PARTLY
        }),
    },
    Row {
        name: "stopped",
        title: "Redis hangs (SIGSTOP)",
        text: "Three calls in a row that miss their deadline open the breaker of their connection.",
        cell: hung,
        run: Run::Away(Away {
            begin: |bench| bench.server.pause(),
            end: |bench| bench.server.resume(),
            is_silence: false,
            ..SILENCE
        }),
    },
    Row {
        name: "silent",
        title: "the network swallows everything",
        text: "",
        cell: hung,
        run: Run::Away(Away {
            way: BY_PROXY,
            begin: |bench| bench.proxy.set_silent(true),
            end: |bench| bench.proxy.set_silent(false),
            ..SILENCE
        }),
    },
    Row {
        name: "slow",
        title: "the network is slow: 200 ms each way, for a deadline of 100 ms",
        text: "A new connection is only taken if it answers within the deadline, so the breaker stays \
               open until the network is fast again. With a longer deadline this is no fault. What was \
               sent is done, late.",
        cell: hung,
        run: Run::Away(Away {
            way: BY_PROXY,
            begin: |bench| bench.proxy.set_delay(Duration::from_millis(200)),
            end: |bench| bench.proxy.set_delay(Duration::ZERO),
            ..SILENCE
        }),
    },
    Row {
        name: "deaf",
        title: "requests arrive, replies are lost",
        text: "Each write that was sent is made once, though its caller is told of an error.",
        cell: hung,
        run: Run::Away(Away {
            way: BY_PROXY,
            begin: |bench| bench.proxy.set_deaf(true),
            end: |bench| bench.proxy.set_deaf(false),
            ..SILENCE
        }),
    },
    Row {
        name: "out_of_memory",
        title: "Redis is out of memory (`noeviction`)",
        text: "What only reads goes on, and so does the connection. A response is not stored, though \
               `Cache-Status` said that it would be: the log says so. A permit is still to be had: its \
               script first removes those that have ended, and Redis lets go on what has begun to write.",
        cell: |column| match column {
            LimitLocal | LimitAllow | LimitRefuse | SessionWrite | AnonymousWrite | ValueSet
            | Increment | Lock => always(&[Policy(Full)]),
            _ => always(&[Served]),
        },
        run: Run::Partly(Partly {
            begin: |bench| bench.fault = Some(bench.server.out_of_memory()),
            end: |bench| drop(bench.fault.take()),
            ..PARTLY
        }),
    },
    Row {
        name: "read_only",
        title: "Redis is a replica (`READONLY`)",
        text: "The first write on a connection gives it up, and new ones count only when they can write. \
               Here each column has a store of its own: what only reads goes on. In one store it shares \
               the fate of the writes beside it: 503, passing or bypass as for a server that is away.",
        cell: |column| match column {
            TokenRefuse | TokenAllow | CacheHit | ValueGet | ValueCompute => always(&[Served]),
            // The store of the response is a write.
            CacheMiss => Cell { first: &[Served], then: &[Policy(Untold)] },
            _ => always(&[Policy(Unavailable)]),
        },
        run: Run::Partly(Partly {
            begin: |bench| bench.fault = Some(bench.server.read_only()),
            end: |bench| drop(bench.fault.take()),
            ..PARTLY
        }),
    },
    Row {
        name: "master_down",
        title: "Redis is a replica without its primary (`MASTERDOWN`)",
        text: "",
        cell: lost,
        run: Run::Away(Away {
            begin: |bench| bench.fault = Some(bench.server.master_down()),
            end: |bench| drop(bench.fault.take()),
            ..AWAY
        }),
    },
    Row {
        name: "loading",
        title: "Redis reads its data (`LOADING`)",
        text: "",
        cell: lost,
        run: Run::Away(Away {
            begin: |bench| bench.server.loading(Duration::from_millis(500)),
            end: |bench| {
                while bench.server.try_query::<Option<String>>(&["GET", "a"]).is_err() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            },
            ..AWAY
        }),
    },
    Row {
        name: "script_flush",
        title: "`SCRIPT FLUSH`",
        text: "A script that the server has forgotten is sent along with its next call. It had not run, \
               so that is no repetition.",
        cell: |_| always(&[Served]),
        run: Run::Partly(Partly { before_each: |bench| bench.server.flush_scripts(), ..PARTLY }),
    },
    Row {
        name: "password_rotated",
        title: "the password is rotated, and put back",
        text: "Who is logged in stays so until the connection ends; `health()` then says that the \
               password is wrong.",
        cell: lost,
        run: Run::Away(Away {
            way: Way { login: ":old@", ..DIRECT },
            server: with_password,
            begin: |bench| {
                bench.server.set_password("default", "new");
                bench.server.kill_clients();
            },
            end: |bench| bench.server.set_password("default", "old"),
            says: StoreError::is_unauthorized,
            ..AWAY
        }),
    },
    Row {
        name: "password_by_credentials",
        title: "the password is rotated, and `credentials` gives the new one",
        text: "It goes on by itself.",
        cell: |_| always(&[Served, Policy(Unavailable)]),
        run: Run::Away(Away {
            way: Way { by_credentials: true, ..DIRECT },
            server: with_password,
            begin: |bench| {
                let mut password = bench.password.lock().unwrap();
                *password += "er";
                bench.server.set_password("default", &password);
                bench.server.kill_clients();
            },
            opens: false,
            ..AWAY
        }),
    },
    Row {
        name: "forbidden_evalsha",
        title: "the access list forbids `EVALSHA`",
        text: "What is forbidden to one command says nothing about the others. (New connections try \
               scripts: `Store::connect` fails.) A response is not stored, and the log says so.",
        cell: |column| match column {
            LimitLocal | LimitAllow | LimitRefuse | PermitLocal | PermitAllow | PermitRefuse
            | SessionWrite | AnonymousWrite | Increment | Lock => always(&[Policy(Forbidden)]),
            _ => always(&[Served]),
        },
        run: Run::Partly(Partly {
            begin: |bench| forbid(bench, "-evalsha"),
            end: |bench| forbid(bench, "+evalsha"),
            ..BY_SHOP
        }),
    },
    Row {
        name: "forbidden_getrange",
        title: "the access list forbids `GETRANGE`",
        text: "",
        cell: |column| match column {
            SessionRead | SessionWrite | AnonymousRead | AnonymousWrite => {
                always(&[Policy(Forbidden)])
            }
            _ => always(&[Served]),
        },
        run: Run::Partly(Partly {
            begin: |bench| forbid(bench, "-getrange"),
            end: |bench| forbid(bench, "+getrange"),
            ..BY_SHOP
        }),
    },
    Row {
        name: "forbidden_mget",
        title: "the access list forbids `MGET`",
        text: "",
        cell: |column| match column {
            TokenRefuse | TokenAllow | CacheHit | CacheMiss | ValueGet | ValueCompute => {
                always(&[Policy(Forbidden)])
            }
            _ => always(&[Served]),
        },
        run: Run::Partly(Partly {
            begin: |bench| forbid(bench, "-mget"),
            end: |bench| forbid(bench, "+mget"),
            ..BY_SHOP
        }),
    },
    Row {
        name: "forbidden_set",
        title: "the access list forbids `SET`",
        text: "Inside of scripts as well, though Redis 7.0 calls it `ERR` there. A response is not \
               stored, and the log says so.",
        cell: |column| match column {
            ValueSet => always(&[Policy(Forbidden)]),
            LimitLocal | LimitAllow | LimitRefuse | SessionWrite | AnonymousWrite | Increment
            | Lock => always(&[Policy(Forbidden), Policy(Reply)]),
            _ => always(&[Served]),
        },
        run: Run::Partly(Partly {
            begin: |bench| forbid(bench, "-set"),
            end: |bench| forbid(bench, "+set"),
            ..BY_SHOP
        }),
    },
    Row {
        name: "wrong_type",
        title: "the key holds a list (`WRONGTYPE`)",
        text: "One bad key takes nobody else down. What reads several keys at once, as a look-up of \
               tokens, values and responses does, is told nothing by Redis: to it such a key is absent, \
               and so it is to a rate limit. (Who can make one can delete the key as well.)",
        cell: |column| match column {
            LimitLocal => always(&[Absent, Policy(Untold)]),
            LimitAllow | LimitRefuse | TokenRefuse | ValueGet => always(&[Absent]),
            TokenAllow => always(&[Policy(Untold)]),
            CacheHit => Cell { first: &[Absent], then: &[Served] },
            ValueCompute => Cell { first: &[Policy(Untold)], then: &[Served] },
            CacheMiss | ValueSet => always(&[Served]),
            Increment => always(&[Policy(NotACounter)]),
            Lock => always(&[Taken]),
            _ => always(&[Policy(Reply)]),
        },
        run: Run::Partly(Partly {
            begin: |bench| tamper(bench, "redis.call('RPUSH', KEYS[1], 'x')"),
            end: |bench| drop(bench.server.command(&["FLUSHALL"])),
            tampers: true,
            ..PARTLY
        }),
    },
    Row {
        name: "corrupt",
        title: "the key holds garbage",
        text: "Whatever is in a token's place says that it was revoked.",
        cell: |column| match column {
            LimitLocal => always(&[Absent, Policy(Untold)]),
            PermitLocal | PermitAllow | PermitRefuse => always(&[Policy(Reply)]),
            TokenRefuse | TokenAllow | CacheMiss | ValueSet => always(&[Served]),
            CacheHit => Cell { first: &[Absent], then: &[Served] },
            ValueCompute => Cell { first: &[Policy(Untold)], then: &[Served] },
            Increment => always(&[Policy(NotACounter)]),
            Lock => always(&[Taken]),
            _ => always(&[Absent]),
        },
        run: Run::Partly(Partly {
            begin: |bench| tamper(bench, "redis.call('SET', KEYS[1], '\\255\\254garbage')"),
            end: |bench| drop(bench.server.command(&["FLUSHALL"])),
            tampers: true,
            ..PARTLY
        }),
    },
    Row {
        name: "max_clients",
        title: "Redis has as many clients as it may, and ours were cut off",
        text: "Connections that are there stay, so this shows only once one is lost.",
        cell: lost,
        run: Run::Away(Away {
            // Which must not be taken for the reason.
            way: Way { login: ":old@", ..DIRECT },
            server: with_password,
            begin: |bench| {
                bench.fault = Some(bench.server.max_clients(0));
                bench.server.kill_clients();
            },
            end: |bench| drop(bench.fault.take()),
            ..AWAY
        }),
    },
    Row {
        name: "large_value",
        title: "a value of 64 MiB is on its way",
        text: "It travels with other values and bodies on a connection of their own: what decides about \
               requests does not notice. What travels behind it waits, for the bulk deadline at most; \
               three that waited in vain give that connection up, and the large value with it.",
        cell: |column| match column.is_bulk() {
            true => always(&[Served, Policy(Timeout), Policy(Unavailable)]),
            false => always(&[Served]),
        },
        run: Run::Special(|| Box::pin(special::large_value())),
    },
    Row {
        name: "busy",
        title: "a script keeps Redis busy (`BUSY`)",
        text: "Redis answers, so the breaker stays closed: each call takes a round trip, and is at its \
               policy. Until it has been busy for `busy-reply-threshold` (5 s) it does not answer at all, \
               which is a Redis that hangs.",
        cell: lost,
        run: Run::Away(Away {
            begin: |bench| bench.fault = Some(bench.server.busy(Duration::from_secs(60))),
            end: |bench| drop(bench.fault.take()),
            opens: false,
            ..AWAY
        }),
    },
];

const BY_SHOP: Partly = Partly { server: with_shop, login: "shop:secret@", ..PARTLY };

impl Row {
    pub(crate) fn named(name: &str) -> &'static Row {
        ROWS.iter().find(|row| row.name == name).expect("a row of this name")
    }

    pub(crate) async fn run(&'static self) -> Report {
        match &self.run {
            Run::Away(it) => away(self, it).await,
            Run::Partly(it) => partly(self, it).await,
            Run::Special(run) => run().await,
        }
    }
}

fn lost(_: Column) -> Cell {
    always(&[Policy(Unavailable)])
}

fn hung(_: Column) -> Cell {
    Cell { first: &[Policy(Timeout)], then: &[Policy(Unavailable)] }
}

fn nothing(_: &mut Bench) {}

fn with_password() -> RedisServer {
    RedisServer::with(&["--requirepass", "old"])
}

fn with_shop() -> RedisServer {
    let server = RedisServer::start();
    server.acl_user("shop", "secret", "~* &* +@all");
    server
}

fn forbid(bench: &mut Bench, rule: &str) {
    bench.server.command(&["ACL", "SETUSER", "shop", rule]);
}

/// Removes what each column has in the store, and puts something else there.
fn tamper(bench: &mut Bench, script: &str) {
    for stand in bench.stands() {
        let script = format!("redis.call('DEL', KEYS[1]) {script}");
        bench.server.command(&["EVAL", &script, "1", &stand.key(&bench.server)]);
    }
}

const ASKED: usize = 5;

/// A fault that speaks of some commands or keys: the others go on, and so does the connection.
async fn partly(row: &'static Row, it: &'static Partly) -> Report {
    let way = Way { login: it.login, patient: true, ..DIRECT };
    let mut bench = Bench::start((it.server)(), way).await;
    bench.assert_whole().await;
    (it.begin)(&mut bench);
    // Keys are lost by a restart, too, which is a fault of its own: here it is over.
    if it.tampers {
        bench.until_up(SOON).await;
    }
    let mut best = vec![Duration::MAX; COLUMNS.len()];
    for number in 0..ASKED {
        for (column, best) in best.iter_mut().enumerate() {
            (it.before_each)(&mut bench);
            let stand = &bench.stands()[column];
            let began = Instant::now();
            let Some(seen) = bench.report().cell(stand.column, stand.ask()).await else { continue };
            *best = (*best).min(began.elapsed());
            let Cell { first, then } = (row.cell)(stand.column);
            let expected = if number == 0 { first } else { then };
            bench.report().expect(stand, &format!("call {}", number + 1), seen, expected);
        }
    }
    for stand in bench.stands() {
        let best = best[stand.column as usize];
        if best > DEADLINE {
            bench.report().problem(stand.column, format!("{best:?} at its best"));
        }
        let Cell { first, then } = (row.cell)(stand.column);
        let opens = [first, then].concat().contains(&Policy(Unavailable)) || first != then;
        if !opens && !stand.store.health().is_up() {
            let why = format!("the breaker is open: {:?}", stand.store.health());
            bench.report().problem(stand.column, why);
        }
    }
    if !it.tampers {
        bench.audit().await;
    }
    (it.end)(&mut bench);
    let recovery = bench.until_up(SOON).await;
    if it.tampers {
        bench.seed().await;
    }
    bench.assert_whole().await;
    bench.audit().await;
    bench.figure(format!(
        "slowest column's best {:?}; recovery {recovery:?}",
        best.iter().max().unwrap()
    ));
    bench.columns.report
}
