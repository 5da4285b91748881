//! The threads that password hashing runs on (S61).
//!
//! Owns the threads, the bounded queue before them, who is let into it, and one reusable block of memory per thread. Does not
//! know what a password hash looks like: `password` hands it closures. Not tokio's blocking pool, because SQLite needs
//! that one and a burst of sign-ins would fill it.
//!
//! The queue is ordered by arrival. Who cannot be served by its deadline is refused when it comes, rather than when it has
//! waited in vain; and a job that has become too late all the same is dropped unbegun, so that no time goes into
//! results that nobody waits for, least of all when there is too little of it.
//!
//! Jobs that need much memory run one at a time, whatever the number of threads, so that it is known how much there is to be;
//! while one waits for that, those behind it go on.

mod priority;

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

use crate::telemetry::tally::{Durations, Histogram};

/// What durations of hashes are told apart by, in nanoseconds: from a tenth of what a hash takes to what a call may.
const BOUNDS: &[u64] = &[
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// A thread's memory: kept between jobs, because allocating it anew for each makes the heap grow by far more than it
/// ever uses at once.
pub(super) type Memory = Vec<Block>;

/// Who waits for a result, and for how long. By default as long as it takes.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// When the result is of no more use.
    pub deadline: Option<Instant>,
    /// Gone when the result is wanted no more. For a caller that waits for somebody who waits for the result.
    pub presence: Option<Weak<()>>,
}

/// How much memory a job needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// What most do.
    Usual,
    /// More: it does not run beside another such job.
    Large,
}

/// Why a job has no result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PoolError {
    /// As many jobs as allowed are running and waiting, or so many that the deadline cannot be met. The job was not begun.
    Full {
        /// In whole seconds, and at least one: until all that wait now are likely to be done.
        retry_after: Duration,
    },
    /// The job failed or panicked, or its caller had left.
    Failed,
}

/// How the pool is doing.
#[derive(Debug, Clone)]
pub struct HashStats {
    /// Jobs that wait for a thread.
    pub waiting: usize,
    /// Jobs that run.
    pub running: usize,
    /// Jobs that were refused, when they came or when they had become too late.
    pub refused: u64,
    /// How long those that were done have taken, without their waiting.
    pub durations: Durations,
}

/// A fixed number of threads, which end when the pool is dropped.
pub(super) struct HashPool(Arc<Shared>);

struct Shared {
    threads: usize,
    /// How many jobs may wait beside those that run.
    max_queue: usize,
    state: Mutex<State>,
    wake: Condvar,
    durations: Histogram,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    running: usize,
    /// Whether one of those that run is large.
    large_runs: bool,
    /// A running average of how long one job takes; zero until one was done.
    job_time: Duration,
    refused: u64,
    closed: bool,
}

type Work = Box<dyn FnOnce(&mut Memory) -> Option<Output> + Send>;

struct Job {
    work: Work,
    size: Size,
    reply: oneshot::Sender<Result<Output, PoolError>>,
    caller: Caller,
}

impl Job {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
            || self.caller.presence.as_ref().is_some_and(|caller| caller.strong_count() == 0)
    }

    /// Whether a result that is there in `time` would be too late.
    fn is_late(&self, time: Duration) -> bool {
        self.caller.deadline.is_some_and(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            left.is_zero() || left < time
        })
    }
}

impl HashPool {
    /// Starts `threads` threads (at least one). `max_queue` is how many jobs may wait beside those that run.
    pub(super) fn start(threads: usize, max_queue: usize) -> io::Result<Self> {
        let threads = threads.max(1);
        let shared = Shared {
            threads,
            max_queue,
            state: Mutex::default(),
            wake: Condvar::new(),
            durations: Histogram::new(BOUNDS),
        };
        let pool = Self(Arc::new(shared));
        for n in 0..threads {
            let shared = Arc::clone(&pool.0);
            thread::Builder::new().name(format!("password-{n}")).spawn(move || shared.run_jobs())?;
        }
        Ok(pool)
    }

    /// Runs `work` on one of the threads, after all that came before. A job that no thread has begun when this future is
    /// dropped, or the `caller` has left, is never run.
    pub(super) async fn run(
        &self,
        caller: Caller,
        size: Size,
        work: impl FnOnce(&mut Memory) -> Option<Output> + Send + 'static,
    ) -> Result<Output, PoolError> {
        let (reply, answer) = oneshot::channel();
        self.0.enqueue(Job { work: Box::new(work), size, reply, caller })?;
        // Without an answer the job panicked, or was not begun.
        answer.await.unwrap_or(Err(PoolError::Failed))
    }

    /// How it is doing now.
    pub(super) fn stats(&self) -> HashStats {
        let (waiting, running, refused) = {
            let state = self.0.lock();
            (state.queue.len(), state.running, state.refused)
        };
        HashStats { waiting, running, refused, durations: self.0.durations.read() }
    }
}

impl Drop for HashPool {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_all();
    }
}

impl Shared {
    fn enqueue(&self, mut job: Job) -> Result<(), PoolError> {
        let mut state = self.lock();
        if !self.admits(&state, &job) {
            // Those whose callers have left make room for those who are still there.
            state.queue.retain(|job| !job.is_abandoned());
        }
        if !self.admits(&state, &job) {
            return Err(self.full(&mut state));
        }
        if self.is_free(&state, &job) {
            // It is begun at once whatever the average says: what one slow job has spoilt, others must be able to mend.
            job.caller.deadline = None;
        }
        state.queue.push_back(job);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    fn admits(&self, state: &State, job: &Job) -> bool {
        let jobs = state.jobs();
        self.is_free(state, job)
            || jobs < self.threads.saturating_add(self.max_queue)
                && !job.is_late(self.time_for(state, jobs + 1))
    }

    /// Whether a thread begins the job at once.
    fn is_free(&self, state: &State, job: &Job) -> bool {
        let waits = job.size == Size::Large
            && (state.large_runs || state.queue.iter().any(|job| job.size == Size::Large));
        state.jobs() < self.threads && !waits
    }

    /// How long so many jobs are likely to take, those that run counted whole.
    fn time_for(&self, state: &State, jobs: usize) -> Duration {
        let of = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        state.job_time.saturating_mul(of(jobs)) / of(self.threads)
    }

    fn full(&self, state: &mut State) -> PoolError {
        state.refused += 1;
        let time = self.time_for(state, state.jobs());
        let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        PoolError::Full { retry_after: Duration::from_secs(seconds.max(1)) }
    }

    /// What a thread does all its life.
    fn run_jobs(&self) {
        priority::give_way();
        let mut memory = Memory::new();
        while let Some(Job { work, size, reply, .. }) = self.next() {
            let started = Instant::now();
            // A panic ends the job, not the thread. The memory holds plain numbers, which the next job overwrites.
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&mut memory)));
            self.finished(started.elapsed(), size);
            if let Ok(output) = outcome {
                // Nobody listens any more when the caller left meanwhile.
                let _ = reply.send(output.ok_or(PoolError::Failed));
            }
        }
    }

    /// Waits for a job that somebody still waits for, and can be given in time; `None` when the pool is gone.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        while !state.closed {
            let large_runs = state.large_runs;
            let next = state.queue.iter().position(|job| job.size == Size::Usual || !large_runs);
            match next.and_then(|next| state.queue.remove(next)) {
                Some(job) if job.is_abandoned() => drop(job),
                Some(job) if job.is_late(state.job_time) => {
                    let _ = job.reply.send(Err(self.full(&mut state)));
                }
                Some(job) => {
                    state.running += 1;
                    state.large_runs |= job.size == Size::Large;
                    return Some(job);
                }
                None => state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
        None
    }

    /// The thread takes its next job right after, so that a large one which has waited for this needs no waking.
    fn finished(&self, took: Duration, size: Size) {
        self.durations.record(took);
        let mut state = self.lock();
        state.running -= 1;
        state.large_runs &= size == Size::Usual;
        state.job_time = if state.job_time.is_zero() { took } else { (state.job_time * 7 + took) / 8 };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn jobs(&self) -> usize {
        self.running + self.queue.len()
    }
}

#[cfg(test)]
mod tests;
