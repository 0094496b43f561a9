//! The task that has one function's file open.
//!
//! It takes what is asked for in turns. A turn is one transaction over what waits then, within bounds;
//! its answers are given when it is committed. Turns of all functions share places, so that who asks for
//! much waits for its own turns: between two of them, others have theirs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::file::{Done, File, Turn};
use crate::operation::{Operation, Page, Reply};
use crate::stores::Shared;
use crate::{Error, Owner, Usage, files};

/// Operations of one turn.
const TURN_OPERATIONS: usize = 64;
/// Bytes of answers after which a turn ends, so that few of them wait to be fetched.
const TURN_BYTES: usize = 8 << 20;
/// Turns after which a file is closed for somebody who waits to have one open.
const TURNS_WHILE_WANTED: u32 = 64;

/// Does what `queue` asks for until nobody has asked for a while, or the place is wanted by others.
pub(crate) async fn keep(shared: Arc<Shared>, owner: Owner, mut queue: mpsc::Receiver<Operation>) {
    let _place = shared.places.enter(&owner.tenant).await;
    let mut keeper = Keeper { path: files::path(&shared.folder, &owner), shared, owner, file: None };
    let mut held_back = None;
    let mut turns: u32 = 0;
    let mut closing = None;
    loop {
        let next = match held_back.take() {
            Some(operation) => Some(operation),
            None => keeper.next(&mut queue, turns).await,
        };
        match next {
            Some(Operation::Close { done }) => {
                closing = Some(done);
                queue.close();
            }
            Some(operation) => {
                held_back = keeper.turn(operation, &mut queue).await;
                turns += 1;
            }
            // What comes from now on is sent to whoever opens the file next.
            None if !queue.is_closed() => queue.close(),
            None => break,
        }
    }
    keeper.close().await;
    drop(closing);
}

struct Keeper {
    shared: Arc<Shared>,
    owner: Owner,
    path: PathBuf,
    /// `None` as long as there is none, and after an error.
    file: Option<File>,
}

impl Keeper {
    /// What to do next; `None` to close the file. Of a queue that is closed, what is left in it.
    async fn next(&self, queue: &mut mpsc::Receiver<Operation>, turns: u32) -> Option<Operation> {
        if queue.is_closed() {
            return queue.recv().await;
        }
        let (places, tenant) = (&self.shared.places, &self.owner.tenant);
        let is_long = turns >= TURNS_WHILE_WANTED;
        if (is_long || queue.is_empty()) && turns > 0 && places.are_wanted(tenant) {
            return None;
        }
        if let Ok(operation) = queue.try_recv() {
            return Some(operation);
        }
        tokio::select! {
            biased;
            operation = queue.recv() => operation,
            () = places.wanted(tenant), if turns > 0 => None,
            () = tokio::time::sleep(self.shared.config.idle_timeout) => None,
        }
    }

    /// Takes a turn, beginning with `first`, and gives back what is to begin the next one.
    async fn turn(&mut self, first: Operation, queue: &mut mpsc::Receiver<Operation>) -> Option<Operation> {
        if first.is_given_up() {
            return None;
        }
        let shared = self.shared.clone();
        let _turn = shared.turns.enter(&self.owner.tenant).await;
        let writes = first.writes();
        let file = match self.open(writes).await {
            Ok(Some(file)) => file,
            Ok(None) => {
                answer_of_nothing(first);
                return None;
            }
            Err(error) => {
                self.failed("open", &error);
                first.fail(Error::Failed);
                return None;
            }
        };
        let mut answers = Answers::default();
        let done = async {
            let mut turn = match file.begin(writes).await {
                Ok(turn) => turn,
                Err(error) => {
                    first.fail(Error::Failed);
                    return Err(error);
                }
            };
            let mut next = Some(first);
            let mut held_back = None;
            while let Some(operation) = next.take() {
                answers.take(&mut turn, operation).await?;
                if answers.given.len() < TURN_OPERATIONS && answers.bytes < TURN_BYTES {
                    next = queue.try_recv().ok();
                }
                let another =
                    |next: &Operation| matches!(next, Operation::Close { .. }) || (next.writes() && !writes);
                if next.as_ref().is_some_and(another) {
                    held_back = next.take();
                }
            }
            turn.commit().await?;
            Ok(held_back)
        };
        match done.await {
            Ok(held_back) => {
                answers.give(Ok(()));
                held_back
            }
            Err(error) => {
                self.failed("use", &error);
                // After some errors, such as a full disk, SQLite has rolled back by itself and the
                // connection does not know of it. The next turn has a new one.
                self.file = None;
                answers.give(Err(Error::Failed));
                None
            }
        }
    }

    /// The file; `None` if it is not there and need not be made.
    async fn open(&mut self, make: bool) -> Result<Option<&mut File>, sqlx::Error> {
        if self.file.is_none() {
            let path = self.path.clone();
            let is_there = move || -> std::io::Result<bool> {
                let is_there = path.try_exists()?;
                if make && !is_there {
                    files::make(&path)?;
                }
                Ok(make || is_there)
            };
            let is_there = tokio::task::spawn_blocking(is_there).await;
            if !is_there.map_err(std::io::Error::other).flatten()? {
                return Ok(None);
            }
            self.file = Some(File::open(&self.path).await?);
        }
        Ok(self.file.as_mut())
    }

    async fn close(&mut self) {
        if let Some(file) = self.file.take()
            && let Err(error) = file.close().await
        {
            self.failed("close", &error);
        }
    }

    fn failed(&self, action: &str, error: &sqlx::Error) {
        let Owner { tenant, function, .. } = &self.owner;
        tracing::error!(%tenant, %function, action, %error, "a key-value store failed");
    }
}

/// Answers what a store that was never written to can be asked.
fn answer_of_nothing(operation: Operation) {
    // Whoever asked may have left.
    match operation {
        Operation::Get { keys, reply } => drop(reply.send(Ok(vec![None; keys.len()]))),
        Operation::Exists { reply, .. } => drop(reply.send(Ok(false))),
        Operation::List { reply, .. } => drop(reply.send(Ok(Page::default()))),
        Operation::Version { reply, .. } => drop(reply.send(Ok(0))),
        Operation::Usage { reply } => drop(reply.send(Ok(Usage::default()))),
        // For these a file is made; closing takes no turn.
        other => other.fail(Error::Failed),
    }
}

/// Gives one answer, or the error that the turn ended with.
type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Answers that are given once what they say is durable.
#[derive(Default)]
struct Answers {
    given: Vec<Answer>,
    bytes: usize,
}

impl Answers {
    /// Does one operation.
    ///
    /// # Errors
    /// Those of the database, which end the turn; whoever asked is told with the others.
    async fn take(&mut self, turn: &mut Turn<'_>, operation: Operation) -> Result<(), sqlx::Error> {
        if operation.is_given_up() {
            return Ok(());
        }
        match operation {
            Operation::Get { keys, reply } => {
                let done = turn.get(&keys).await;
                if let Ok(Ok(values)) = &done {
                    self.bytes += values.iter().flatten().map(Vec::len).sum::<usize>();
                }
                self.add(reply, done)
            }
            Operation::Exists { key, reply } => self.add(reply, turn.exists(&key).await),
            Operation::List { after, reply } => {
                let done = turn.list(after).await;
                if let Ok(Ok(page)) = &done {
                    self.bytes += page.keys.iter().map(String::len).sum::<usize>();
                }
                self.add(reply, done)
            }
            Operation::Version { key, reply } => self.add(reply, turn.version(&key).await.map(Ok)),
            Operation::Usage { reply } => self.add(reply, Ok(Ok(turn.usage()))),
            Operation::Set { entries, limit, reply } => self.add(reply, turn.set(entries, limit).await),
            Operation::Delete { keys, reply } => self.add(reply, turn.delete(&keys).await),
            Operation::Increment { key, sum, limit, reply } => {
                self.add(reply, turn.increment(key, sum, limit).await)
            }
            Operation::Swap { key, version, value, limit, reply } => {
                self.add(reply, turn.swap(key, version, value, limit).await)
            }
            // Never part of a turn.
            Operation::Close { .. } => Ok(()),
        }
    }

    fn add<T: Send + 'static>(&mut self, reply: Reply<T>, done: Done<T>) -> Result<(), sqlx::Error> {
        let (result, ended) = match done {
            Ok(result) => (result, Ok(())),
            Err(error) => (Err(Error::Failed), Err(error)),
        };
        self.given.push(Box::new(move |kept| {
            // Whoever asked may have left.
            drop(reply.send(kept.and(result)));
        }));
        ended
    }

    fn give(self, kept: Result<(), Error>) {
        for answer in self.given {
            answer(kept.clone());
        }
    }
}

/// Asks a keeper to close its file, and waits until it has.
pub(crate) async fn close(queue: &mpsc::Sender<Operation>) {
    let (done, closed) = oneshot::channel();
    if queue.send(Operation::Close { done }).await.is_ok() {
        // It says so by letting go of the sender.
        let _ = closed.await;
    }
}

/// Long enough for the pauses of a person, short enough that a file is not open for nothing.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
