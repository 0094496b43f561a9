//! The stores of all functions on this host: which are open, and how each is asked.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use modelet_types::{FunctionName, TenantName};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::operation::{Entries, Operation, Reply, check_entries, check_key, check_keys};
use crate::shares::Shares;
use crate::{Error, Page, Sum, Swapped, Usage, files, keeper};

/// Operations that wait for one function's file; whoever comes then waits to be let in.
const QUEUE: usize = 64;

/// How stores are kept.
#[derive(Clone, Copy, Debug)]
pub struct KeyValueConfig {
    /// How long a file stays open when nobody asks.
    pub idle_timeout: Duration,
    /// Files that may be open at one time, at most half of them of one tenant. Each has a thread and up to
    /// 1 MiB of memory.
    pub max_open: usize,
    /// Turns that are taken at one time, at most half of them of one tenant.
    pub max_turns: usize,
}

impl Default for KeyValueConfig {
    fn default() -> Self {
        Self { idle_timeout: keeper::IDLE_TIMEOUT, max_open: 128, max_turns: 16 }
    }
}

/// Whose store it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The tenant.
    pub tenant: TenantName,
    /// The function.
    pub function: FunctionName,
    /// What tells the function from others that had its name before; never given again within a tenant.
    pub id: u64,
}

/// The stores of all functions.
pub struct KeyValueStores(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) folder: PathBuf,
    pub(crate) config: KeyValueConfig,
    pub(crate) places: Shares,
    pub(crate) turns: Shares,
    /// The queues of those that are open; `None` once the host shuts down.
    queues: Mutex<Option<HashMap<Owner, mpsc::Sender<Operation>>>>,
    keepers: TaskTracker,
}

impl KeyValueStores {
    /// Keeps stores in `folder`, made if it is missing. Blocks on the file system for a moment.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn open(folder: PathBuf, config: KeyValueConfig) -> io::Result<Arc<Self>> {
        files::make_folder(&folder)?;
        let shared = Shared {
            folder,
            places: Shares::new(config.max_open),
            turns: Shares::new(config.max_turns),
            config,
            queues: Mutex::new(Some(HashMap::new())),
            keepers: TaskTracker::new(),
        };
        Ok(Arc::new(Self(Arc::new(shared))))
    }

    /// The values of keys, in the same order.
    ///
    /// # Errors
    /// If there are too many, their values are too large together, or the file fails.
    pub async fn get(&self, owner: &Owner, keys: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, Error> {
        check_keys(&keys)?;
        self.ask(owner, |reply| Operation::Get { keys, reply }).await
    }

    /// Whether a key has a value.
    ///
    /// # Errors
    /// If the key is too long, or the file fails.
    pub async fn exists(&self, owner: &Owner, key: String) -> Result<bool, Error> {
        check_key(&key)?;
        self.ask(owner, |reply| Operation::Exists { key, reply }).await
    }

    /// A page of keys: the first (0), or the one that begins where another has ended.
    ///
    /// # Errors
    /// If the file fails.
    pub async fn list(&self, owner: &Owner, after: u64) -> Result<Page, Error> {
        self.ask(owner, |reply| Operation::List { after, reply }).await
    }

    /// The version of a key, another after each write; 0 if it is not there.
    ///
    /// # Errors
    /// If the key is too long, or the file fails.
    pub async fn version(&self, owner: &Owner, key: String) -> Result<u64, Error> {
        check_key(&key)?;
        self.ask(owner, |reply| Operation::Version { key, reply }).await
    }

    /// Gives keys their values: all, or none and an error. The store may hold `limit` bytes.
    ///
    /// # Errors
    /// If something is too large, there is no room, or the file fails.
    pub async fn set(&self, owner: &Owner, entries: Entries, limit: u64) -> Result<(), Error> {
        check_entries(&entries)?;
        self.ask(owner, |reply| Operation::Set { entries, limit, reply }).await
    }

    /// Takes keys out.
    ///
    /// # Errors
    /// If there are too many, or the file fails.
    pub async fn delete(&self, owner: &Owner, keys: Vec<String>) -> Result<(), Error> {
        check_keys(&keys)?;
        self.ask(owner, |reply| Operation::Delete { keys, reply }).await
    }

    /// Adds to a number in decimal digits, and gives the sum.
    ///
    /// # Errors
    /// If the value is no number, the sum is out of range, there is no room, or the file fails.
    pub async fn increment(&self, owner: &Owner, key: String, sum: Sum, limit: u64) -> Result<i64, Error> {
        check_key(&key)?;
        self.ask(owner, |reply| Operation::Increment { key, sum, limit, reply }).await
    }

    /// Gives a key a value if its version is still `version`.
    ///
    /// # Errors
    /// As for [`Self::set`].
    pub async fn swap(
        &self,
        owner: &Owner,
        entry: (String, Vec<u8>),
        version: u64,
        limit: u64,
    ) -> Result<Swapped, Error> {
        let entries = vec![entry];
        check_entries(&entries)?;
        let Some((key, value)) = entries.into_iter().next() else { return Err(Error::Failed) };
        self.ask(owner, |reply| Operation::Swap { key, version, value, limit, reply }).await
    }

    /// What a store holds.
    ///
    /// # Errors
    /// If the file fails.
    pub async fn usage(&self, owner: &Owner) -> Result<Usage, Error> {
        self.ask(owner, |reply| Operation::Usage { reply }).await
    }

    /// Everyone who has a store on the disk.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub async fn owners(&self) -> io::Result<Vec<Owner>> {
        let folder = self.0.folder.clone();
        let owners = tokio::task::spawn_blocking(move || files::owners(&folder)).await;
        owners.map_err(io::Error::other).flatten()
    }

    /// Removes a store with everything in it. An invocation that is still running may make it anew, so
    /// that whoever removes the stores of functions that are gone looks for more later.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub async fn remove(&self, owner: &Owner) -> io::Result<()> {
        let queue = self.queues().as_mut().and_then(|queues| queues.remove(owner));
        if let Some(queue) = queue {
            keeper::close(&queue).await;
        }
        let path = files::path(&self.0.folder, owner);
        tokio::task::spawn_blocking(move || files::remove(&path)).await.map_err(io::Error::other).flatten()
    }

    /// Takes no more, finishes what was asked for, and closes every file.
    pub async fn close(&self) {
        // The keepers end when nobody can ask them any more.
        drop(self.queues().take());
        self.0.keepers.close();
        self.0.keepers.wait().await;
    }

    async fn ask<T>(&self, owner: &Owner, operation: impl FnOnce(Reply<T>) -> Operation) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let mut operation = operation(reply);
        loop {
            let queue = self.queue(owner)?;
            match queue.send(operation).await {
                Ok(()) => break,
                // It was closed meanwhile, and is opened again.
                Err(mpsc::error::SendError(returned)) => operation = returned,
            }
        }
        // A keeper that is gone without a word has panicked.
        answer.await.unwrap_or(Err(Error::Failed))
    }

    /// The queue of an owner's file, which is opened if it is not.
    fn queue(&self, owner: &Owner) -> Result<mpsc::Sender<Operation>, Error> {
        let mut queues = self.queues();
        let queues = queues.as_mut().ok_or(Error::ShuttingDown)?;
        if let Some(queue) = queues.get(owner).filter(|queue| !queue.is_closed()) {
            return Ok(queue.clone());
        }
        let (queue, operations) = mpsc::channel(QUEUE);
        queues.insert(owner.clone(), queue.clone());
        let (shared, owner) = (self.0.clone(), owner.clone());
        self.0.keepers.spawn(async move {
            keeper::keep(shared.clone(), owner.clone(), operations).await;
            shared.forget(&owner);
        });
        Ok(queue)
    }

    fn queues(&self) -> MutexGuard<'_, Option<HashMap<Owner, mpsc::Sender<Operation>>>> {
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Forgets a queue whose keeper has ended, unless another one has come in its place.
    fn forget(&self, owner: &Owner) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queues) = queues.as_mut()
            && queues.get(owner).is_some_and(mpsc::Sender::is_closed)
        {
            queues.remove(owner);
        }
    }
}
