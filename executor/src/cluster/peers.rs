//! Other executors: where they are, and an open connection to each.

use std::collections::BTreeMap;

use job::ExecutorId;
use parking_lot::Mutex;
use tonic::transport::Channel;
use wire::proto::blocks_client::BlocksClient;
use wire::{Secured, Security};

/// What this executor knows of the others. It grows by one small entry per executor that ever
/// held something for it, and lives as long as its registration.
pub(crate) struct Peers {
    security: Security,
    known: Mutex<BTreeMap<ExecutorId, Peer>>,
}

struct Peer {
    address: String,
    /// Connects when it is first used.
    channel: Option<Channel>,
}

impl Peers {
    pub(crate) fn new(security: Security) -> Self {
        Self {
            security,
            known: Mutex::new(BTreeMap::new()),
        }
    }

    /// An executor is reached there (from now on).
    pub(crate) fn learn(&self, executor: ExecutorId, address: &str) {
        let mut known = self.known.lock();
        if known
            .get(&executor)
            .is_none_or(|peer| peer.address != address)
        {
            let peer = Peer {
                address: address.to_owned(),
                channel: None,
            };
            known.insert(executor, peer);
        }
    }

    /// Calls to an executor, if anybody ever said where it is.
    pub(crate) fn client(
        &self,
        executor: ExecutorId,
    ) -> Result<Option<BlocksClient<Secured>>, wire::TransportError> {
        let mut known = self.known.lock();
        let Some(peer) = known.get_mut(&executor) else {
            return Ok(None);
        };
        let channel = match &peer.channel {
            Some(channel) => channel.clone(),
            None => peer
                .channel
                .insert(self.security.channel(&peer.address)?)
                .clone(),
        };
        Ok(Some(self.security.blocks_client(channel)))
    }
}
