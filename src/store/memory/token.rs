use super::{Memory, OnMemory, lock};
use crate::policy::Timestamp;
use crate::policy::revocation::{LONGEST_TOKEN, Revocations};
use crate::store::StoreError;
use crate::store::verbs::{CheckRevoked, RevokeSubject, RevokeToken};

impl OnMemory for CheckRevoked {
    fn on_memory(self, memory: &Memory) -> Result<Revocations, StoreError> {
        let now = memory.now();
        let token = lock(&memory.revoked_tokens).get(&self.token, now).is_some();
        let subject_until = self
            .subject
            .and_then(|subject| lock(&memory.revoked_subjects).get(&subject, now).copied());
        Ok(Revocations { token, subject_until })
    }
}

impl OnMemory for RevokeToken {
    fn on_memory(self, memory: &Memory) -> Result<(), StoreError> {
        let now = memory.now();
        let mut tokens = lock(&memory.revoked_tokens);
        Ok(tokens.insert(self.token, (), 0, now.after(self.time_to_live), now)?)
    }
}

impl OnMemory for RevokeSubject {
    fn on_memory(self, memory: &Memory) -> Result<Timestamp, StoreError> {
        let now = memory.now();
        let mut subjects = lock(&memory.revoked_subjects);
        let known = subjects.get(&self.subject, now).copied();
        let until = known.max(Some(self.until.unwrap_or(now))).unwrap_or(now);
        subjects.insert(self.subject, until, 0, now.after(LONGEST_TOKEN), now)?;
        Ok(until)
    }
}
