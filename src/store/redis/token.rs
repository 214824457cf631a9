use redis::Value;

use super::command::{Command, REVOKE_SUBJECT};
use super::session::millis;
use super::{OnRedis, Unexpected, reply};
use crate::policy::Timestamp;
use crate::policy::revocation::{LONGEST_TOKEN, Revocations};
use crate::store::keys::Keys;
use crate::store::verbs::{CheckRevoked, RevokeSubject, RevokeToken};

impl OnRedis for CheckRevoked {
    fn command(&self, keys: &Keys) -> Command {
        let check = Command::new("MGET").arg(keys.revoked_token(&self.token));
        match &self.subject {
            Some(subject) => check.arg(keys.revoked_subject(subject)),
            None => check,
        }
    }

    fn answer(reply: Value) -> Result<Revocations, Unexpected> {
        let mut found = reply::list(reply)?.into_iter().map(reply::bytes);
        let token = found.next().ok_or(Unexpected)??.is_some();
        let subject_until = found.next().transpose()?.flatten().map(|until| {
            let micros = std::str::from_utf8(&until).ok().and_then(|it| it.parse().ok());
            // Something is remembered about the subject, so something was revoked.
            Timestamp(micros.unwrap_or(u64::MAX))
        });
        Ok(Revocations { token, subject_until })
    }
}

impl OnRedis for RevokeToken {
    fn command(&self, keys: &Keys) -> Command {
        Command::new("SET")
            .arg(keys.revoked_token(&self.token))
            .arg(1)
            .arg("PX")
            .arg(millis(self.time_to_live))
    }

    fn answer(reply: Value) -> Result<(), Unexpected> {
        matches!(reply, Value::Okay).then_some(()).ok_or(Unexpected)
    }
}

impl OnRedis for RevokeSubject {
    fn command(&self, keys: &Keys) -> Command {
        let revoke = Command::script(&REVOKE_SUBJECT, &[keys.revoked_subject(&self.subject)])
            .arg(millis(LONGEST_TOKEN));
        match self.until {
            Some(until) => revoke.arg(until.0),
            None => revoke,
        }
    }

    fn answer(reply: Value) -> Result<Timestamp, Unexpected> {
        reply::count(&reply).map(Timestamp)
    }
}
