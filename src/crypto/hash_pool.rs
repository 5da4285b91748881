//! The threads that password hashing runs on (S61).
//!
//! Owns the threads, the bounded queue before them and one reusable block of memory per thread. Does not know what a
//! password hash looks like: `password` hands it closures. Not tokio's blocking pool, because SQLite needs that one
//! and a burst of sign-ins would fill it.

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use argon2::{Block, password_hash::phc::Output};
use tokio::sync::oneshot;

/// A thread's memory: kept between jobs, because allocating it anew for each makes the heap grow by far more than it
/// ever uses at once.
pub(super) type Memory = Vec<Block>;

/// The shortest delay that is ever asked of a caller.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a job has no result.
#[derive(Debug)]
pub(super) enum PoolError {
    /// As many jobs as allowed are running and waiting.
    Full { retry_after: Duration },
    /// The job failed or panicked.
    Failed,
}

/// A fixed number of threads, which end when the pool is dropped.
pub(super) struct HashPool {
    shared: Arc<Shared>,
    threads: usize,
    max_queue: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    running: usize,
    /// A running average of how long one job takes.
    job_time: Duration,
    closed: bool,
}

type Work = Box<dyn FnOnce(&mut Memory) -> Option<Output> + Send>;

struct Job {
    work: Work,
    reply: oneshot::Sender<Option<Output>>,
    /// Somebody else than who waits for the reply; gone when the result is wanted no more.
    caller: Option<Weak<()>>,
}

impl Job {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed() || self.caller.as_ref().is_some_and(|caller| caller.strong_count() == 0)
    }
}

impl HashPool {
    /// Starts `threads` threads (at least one). `max_queue` is how many jobs may wait beside those that run.
    pub(super) fn start(threads: usize, max_queue: usize) -> io::Result<Self> {
        let pool = Self { shared: Arc::default(), threads: threads.max(1), max_queue };
        for n in 0..pool.threads {
            let shared = Arc::clone(&pool.shared);
            thread::Builder::new().name(format!("password-{n}")).spawn(move || shared.run_jobs())?;
        }
        Ok(pool)
    }

    /// Runs `work` on one of the threads. A job that no thread has begun when this future is dropped, or the `caller` is
    /// gone, is never run.
    pub(super) async fn run(
        &self,
        caller: Option<Weak<()>>,
        work: impl FnOnce(&mut Memory) -> Option<Output> + Send + 'static,
    ) -> Result<Output, PoolError> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(Job { work: Box::new(work), reply, caller })?;
        // An error here means that the job panicked, or was not begun.
        answer.await.ok().flatten().ok_or(PoolError::Failed)
    }

    fn enqueue(&self, job: Job) -> Result<(), PoolError> {
        let mut state = self.shared.lock();
        if self.is_full(&state) {
            // Those whose callers have left make room for those who are still there.
            state.queue.retain(|job| !job.is_abandoned());
        }
        if self.is_full(&state) {
            let jobs = u32::try_from(state.running + state.queue.len()).unwrap_or(u32::MAX);
            let threads = u32::try_from(self.threads).unwrap_or(u32::MAX);
            let retry_after = (state.job_time.saturating_mul(jobs) / threads).max(MIN_RETRY_AFTER);
            return Err(PoolError::Full { retry_after });
        }
        state.queue.push_back(job);
        drop(state);
        self.shared.wake.notify_one();
        Ok(())
    }

    fn is_full(&self, state: &State) -> bool {
        state.running + state.queue.len() >= self.threads.saturating_add(self.max_queue)
    }
}

impl Drop for HashPool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    /// What a thread does all its life.
    fn run_jobs(&self) {
        let mut memory = Memory::new();
        while let Some(Job { work, reply, .. }) = self.next() {
            let started = Instant::now();
            // A panic ends the job, not the thread. The memory holds plain numbers, which the next job overwrites.
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&mut memory)));
            self.finished(started.elapsed());
            if let Ok(output) = outcome {
                // Nobody listens any more when the caller left meanwhile.
                let _ = reply.send(output);
            }
        }
    }

    /// Waits for a job that somebody still waits for; `None` when the pool is gone.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        while !state.closed {
            match state.queue.pop_front() {
                Some(job) if job.is_abandoned() => drop(job),
                Some(job) => {
                    state.running += 1;
                    return Some(job);
                }
                None => state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
        None
    }

    fn finished(&self, took: Duration) {
        let mut state = self.lock();
        state.running -= 1;
        state.job_time = if state.job_time.is_zero() { took } else { (state.job_time * 7 + took) / 8 };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;

    fn output() -> Option<Output> {
        Output::new(&[7; 32]).ok()
    }

    /// Waits, for at most some seconds, until `condition` holds.
    async fn until(condition: impl Fn() -> bool) {
        for _ in 0..1000 {
            if condition() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("waited in vain");
    }

    /// Occupies a thread until the returned sender is dropped.
    async fn occupy(
        pool: &Arc<HashPool>,
    ) -> (mpsc::Sender<()>, tokio::task::JoinHandle<Result<Output, PoolError>>) {
        let (release, released) = mpsc::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let task = tokio::spawn({
            let pool = Arc::clone(pool);
            async move {
                pool.run(None, move |_| {
                    let _ = begun.send(());
                    let _ = released.recv();
                    output()
                })
                .await
            }
        });
        has_begun.await.unwrap();
        (release, task)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_queue_refuses_and_loses_nothing() {
        // S61
        let pool = Arc::new(HashPool::start(1, 1).unwrap());
        let (release, running) = occupy(&pool).await;
        let attempts: Vec<_> = (0..20)
            .map(|_| {
                let pool = Arc::clone(&pool);
                tokio::spawn(async move { pool.run(None, |_| output()).await })
            })
            .collect();
        until(|| attempts.iter().filter(|attempt| attempt.is_finished()).count() == 19).await;
        drop(release);
        running.await.unwrap().unwrap();
        let (mut done, mut refused) = (0, 0);
        for attempt in attempts {
            match attempt.await.unwrap() {
                Ok(_) => done += 1,
                Err(PoolError::Full { retry_after }) => {
                    assert!(retry_after >= MIN_RETRY_AFTER);
                    refused += 1;
                }
                Err(PoolError::Failed) => panic!("lost"),
            }
        }
        assert_eq!((done, refused), (1, 19));
        assert!(pool.run(None, |_| output()).await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_nobody_waits_for_is_not_run_and_takes_no_place() {
        // S61
        let pool = Arc::new(HashPool::start(1, 4).unwrap());
        let (release, running) = occupy(&pool).await;
        let runs = Arc::new(AtomicUsize::new(0));
        let job = || {
            let (pool, runs) = (Arc::clone(&pool), Arc::clone(&runs));
            tokio::spawn(async move {
                pool.run(None, move |_| {
                    runs.fetch_add(1, Ordering::SeqCst);
                    output()
                })
                .await
            })
        };
        let abandoned: Vec<_> = (0..4).map(|_| job()).collect();
        until(|| pool.shared.lock().queue.len() == 4).await;
        for task in abandoned {
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }
        let patient = job();
        until(|| pool.shared.lock().queue.len() == 1).await;
        drop(release);
        running.await.unwrap().unwrap();
        patient.await.unwrap().unwrap();
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_ends_the_job_and_not_the_thread() {
        let pool = HashPool::start(1, 0).unwrap();
        assert!(matches!(pool.run(None, |_| panic!("in a job")).await, Err(PoolError::Failed)));
        assert!(matches!(pool.run(None, |_| None).await, Err(PoolError::Failed)));
        assert!(pool.run(None, |_| output()).await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_delay_asked_for_grows_with_the_queue() {
        let pool = Arc::new(HashPool::start(1, 0).unwrap());
        let (_release, _running) = occupy(&pool).await;
        pool.shared.lock().job_time = Duration::from_secs(3);
        let refused = pool.run(None, |_| output()).await;
        assert!(
            matches!(refused, Err(PoolError::Full { retry_after }) if retry_after == Duration::from_secs(3))
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_threads_end_with_the_pool() {
        let pool = HashPool::start(3, 8).unwrap();
        pool.run(None, |_| output()).await.unwrap();
        let shared = Arc::downgrade(&pool.shared);
        drop(pool);
        until(|| shared.strong_count() == 0).await;
    }
}
