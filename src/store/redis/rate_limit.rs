use redis::Value;

use super::command::{Command, TAKE};
use super::{OnRedis, Unexpected, reply};
use crate::policy::Timestamp;
use crate::policy::gcra::{Arrival, Taken};
use crate::store::keys::Keys;
use crate::store::verbs::Take;

impl OnRedis for Take {
    fn command(&self, keys: &Keys) -> Command {
        let cost = self.gcra.split_worth(self.cost);
        let burst = self.gcra.split_worth(self.gcra.burst());
        Command::script(&TAKE, &[keys.limit(&self.name, &self.subject)])
            .arg(self.gcra.ticks_per_micro())
            .arg(cost.micros)
            .arg(cost.ticks)
            .arg(burst.micros)
            .arg(burst.ticks)
    }

    fn answer(reply: Value) -> Result<Taken, Unexpected> {
        let [allowed, now, micros, ticks] = reply::array(reply)?;
        Ok(Taken {
            allowed: reply::integer(&allowed)? == 1,
            now: Timestamp(reply::count(&now)?),
            arrival: Arrival {
                micros: reply::count(&micros)?,
                ticks: reply::count(&ticks)?.try_into().map_err(|_| Unexpected)?,
            },
        })
    }
}
