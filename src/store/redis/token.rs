use redis::Value;

use super::command::{Command, REVOKE_SUBJECT, millis};
use super::{OnRedis, Request, Unexpected, reply};
use crate::policy::Timestamp;
use crate::policy::revocation::{LONGEST_TOKEN, Revocations};
use crate::store::keys::Keys;
use crate::store::verbs::{CheckRevoked, RevokeSubject, RevokeToken};

impl OnRedis for CheckRevoked {
    fn request(&self, keys: &Keys) -> Request {
        let mut names = vec![keys.revoked_token(&self.token)];
        names.extend(self.subject.map(|subject| keys.revoked_subject(&subject)));
        Request::GetAll(names)
    }

    fn answer(reply: Value) -> Result<Revocations, Unexpected> {
        let mut found = reply::list(reply)?.into_iter().map(reply::bytes);
        let token = found.next().ok_or(Unexpected)??.is_some();
        let subject_until = found.next().transpose()?.flatten().map(|until| {
            // Something is remembered about the subject, so something was revoked.
            Timestamp(reply::parsed(&until).unwrap_or(u64::MAX))
        });
        Ok(Revocations { token, subject_until })
    }
}

impl OnRedis for RevokeToken {
    fn request(&self, keys: &Keys) -> Request {
        Command::set(keys.revoked_token(&self.token), 1, self.time_to_live).into()
    }

    fn answer(reply: Value) -> Result<(), Unexpected> {
        reply::okay(&reply)
    }
}

impl OnRedis for RevokeSubject {
    fn request(&self, keys: &Keys) -> Request {
        let revoke = Command::script(&REVOKE_SUBJECT, &[keys.revoked_subject(&self.subject)])
            .arg(millis(LONGEST_TOKEN));
        match self.until {
            Some(until) => revoke.arg(until.0).into(),
            None => revoke.into(),
        }
    }

    fn answer(reply: Value) -> Result<Timestamp, Unexpected> {
        reply::count(&reply).map(Timestamp)
    }
}
