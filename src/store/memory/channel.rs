use super::{Memory, OnMemory};
use crate::store::StoreError;
use crate::store::channels::{Channels, Listener};
use crate::store::verbs::Publish;

impl OnMemory for Publish {
    fn on_memory(self, memory: &Memory) -> Result<(), StoreError> {
        memory.channels.deliver(&self.channel, &self.message);
        Ok(())
    }
}

impl Memory {
    /// Listens to a channel from now on.
    pub(crate) fn listen(&self, channel: &str, capacity: usize) -> Listener {
        self.channels.listen(channel, capacity).0
    }

    pub(crate) fn channels(&self) -> &Channels {
        &self.channels
    }
}

/// Who listens learns that nothing will come any more.
impl Drop for Memory {
    fn drop(&mut self) {
        self.channels.end();
    }
}
