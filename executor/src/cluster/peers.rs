//! Other executors: where they are, and an open connection to each.

use std::collections::BTreeMap;

use job::{Epoch, ExecutorId};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use wire::proto::blocks_client::BlocksClient;
use wire::{Secured, Security};

/// What this executor knows of the others. It grows by one small entry per executor that ever
/// held something for it, and lives as long as its registration.
pub(crate) struct Peers {
    security: Security,
    known: Mutex<BTreeMap<ExecutorId, Peer>>,
}

/// One registration of another executor.
struct Peer {
    epoch: Epoch,
    address: String,
    /// Connects when it is first used.
    channel: Option<Channel>,
    lost: CancellationToken,
}

impl Peers {
    pub(crate) fn new(security: Security) -> Self {
        Self {
            security,
            known: Mutex::new(BTreeMap::new()),
        }
    }

    /// An executor is reached there since this registration of it.
    pub(crate) fn learn(&self, executor: ExecutorId, epoch: Epoch, address: &str) {
        let mut known = self.known.lock();
        if known.get(&executor).is_some_and(|peer| peer.epoch >= epoch) {
            return;
        }
        let peer = Peer {
            epoch,
            address: address.to_owned(),
            channel: None,
            lost: CancellationToken::new(),
        };
        if let Some(former) = known.insert(executor, peer) {
            former.lost.cancel();
        }
    }

    /// The driver gave this registration up: nothing of it is waited for any more.
    pub(crate) fn lost(&self, executor: ExecutorId, epoch: Epoch) {
        if let Some(peer) = self.known.lock().get(&executor)
            && peer.epoch <= epoch
        {
            peer.lost.cancel();
        }
    }

    /// Cancelled when the present registration of an executor is lost.
    pub(crate) fn loss_of(&self, executor: ExecutorId) -> CancellationToken {
        let known = self.known.lock();
        let peer = known.get(&executor);
        peer.map(|peer| peer.lost.clone()).unwrap_or_default()
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
