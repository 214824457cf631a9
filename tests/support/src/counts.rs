//! What a server has been asked to do.

use std::collections::BTreeMap;

/// How often clients made a server work, since it started or between two snapshots; see
/// [`RedisServer::count`](crate::RedisServer::count).
///
/// What this crate sends itself is left out, with one exception: commands that the server answers
/// with an error, such as `command(&["GET", "a-list"])`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How often the server read from a client's socket. A pipeline in one piece is one read; a
    /// request beyond 16 KiB is several, and so is one that arrives in pieces. That a client closed
    /// its connection is learned by reading too.
    pub round_trips: u64,
    /// How often each command ran, by its name in lower case, subcommands as `client|setinfo`.
    /// Commands inside scripts are among them.
    pub commands: BTreeMap<String, u64>,
}

impl Counts {
    /// What was added since `earlier`; commands that were not used in between are left out.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut commands = self.commands.clone();
        for (name, before) in &earlier.commands {
            subtract(&mut commands, name, *before);
        }
        Self { round_trips: self.round_trips.saturating_sub(earlier.round_trips), commands }
    }

    /// Adds what another server was asked.
    pub(crate) fn add(&mut self, other: &Self) {
        self.round_trips += other.round_trips;
        for (name, calls) in &other.commands {
            *self.commands.entry(name.clone()).or_default() += calls;
        }
    }

    /// Reads the answer to `INFO all`, less `reads` and the `own` commands, which are named by
    /// their first two words.
    pub(crate) fn from_info(info: &str, reads: u64, own: &BTreeMap<(String, String), u64>) -> Self {
        let total: u64 = info
            .lines()
            .find_map(|line| line.strip_prefix("total_reads_processed:")?.parse().ok())
            .expect("INFO has no `total_reads_processed`; redis-server 6 or later is needed");
        let mut commands: BTreeMap<_, _> = info.lines().filter_map(command_calls).collect();
        for ((command, argument), calls) in own {
            let with_subcommand = format!("{command}|{argument}");
            let known = commands.contains_key(&with_subcommand);
            subtract(&mut commands, if known { &with_subcommand } else { command }, *calls);
        }
        Self { round_trips: total.saturating_sub(reads), commands }
    }
}

/// `cmdstat_get:calls=3,usec=…` as `("get", 3)`, if the line is one of those.
fn command_calls(line: &str) -> Option<(String, u64)> {
    let (name, numbers) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
    let calls = numbers.split(',').next()?.parse().ok()?;
    (calls > 0).then(|| (name.to_owned(), calls))
}

fn subtract(commands: &mut BTreeMap<String, u64>, name: &str, calls: u64) {
    if let Some(count) = commands.get_mut(name) {
        *count = count.saturating_sub(calls);
        if *count == 0 {
            commands.remove(name);
        }
    }
}
