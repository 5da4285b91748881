//! What the pool promises. How long a job takes is put into it: nothing here depends on the machine's speed.

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
    size: Size,
) -> (mpsc::Sender<()>, tokio::task::JoinHandle<Result<Output, PoolError>>) {
    let (release, released) = mpsc::channel::<()>();
    let (begun, has_begun) = oneshot::channel();
    let task = tokio::spawn({
        let pool = Arc::clone(pool);
        async move {
            pool.run(Caller::default(), size, move |_| {
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
    let (release, running) = occupy(&pool, Size::Usual).await;
    let attempts: Vec<_> = (0..20)
        .map(|_| {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move { pool.run(Caller::default(), Size::Usual, |_| output()).await })
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
                assert_eq!(retry_after, Duration::from_secs(1));
                refused += 1;
            }
            Err(PoolError::Failed) => panic!("lost"),
        }
    }
    assert_eq!((done, refused), (1, 19));
    assert!(pool.run(Caller::default(), Size::Usual, |_| output()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_is_not_run_and_takes_no_place() {
    // S61
    let pool = Arc::new(HashPool::start(1, 4).unwrap());
    let (release, running) = occupy(&pool, Size::Usual).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let job = || {
        let (pool, runs) = (Arc::clone(&pool), Arc::clone(&runs));
        tokio::spawn(async move {
            pool.run(Caller::default(), Size::Usual, move |_| {
                runs.fetch_add(1, Ordering::SeqCst);
                output()
            })
            .await
        })
    };
    let abandoned: Vec<_> = (0..4).map(|_| job()).collect();
    until(|| pool.0.lock().queue.len() == 4).await;
    for task in abandoned {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
    let patient = job();
    until(|| pool.0.lock().queue.len() == 1).await;
    drop(release);
    running.await.unwrap().unwrap();
    patient.await.unwrap().unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_the_job_and_not_the_thread() {
    let pool = HashPool::start(1, 0).unwrap();
    assert!(matches!(
        pool.run(Caller::default(), Size::Usual, |_| panic!("in a job")).await,
        Err(PoolError::Failed)
    ));
    assert!(matches!(pool.run(Caller::default(), Size::Usual, |_| None).await, Err(PoolError::Failed)));
    assert!(pool.run(Caller::default(), Size::Usual, |_| output()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_delay_asked_for_grows_with_the_queue_by_whole_seconds() {
    let pool = Arc::new(HashPool::start(1, 0).unwrap());
    let (_release, _running) = occupy(&pool, Size::Usual).await;
    for (job_time, seconds) in [(0, 1), (999, 1), (3000, 3), (3001, 4)] {
        pool.0.lock().job_time = Duration::from_millis(job_time);
        let refused = pool.run(Caller::default(), Size::Usual, |_| output()).await;
        assert_eq!(refused, Err(PoolError::Full { retry_after: Duration::from_secs(seconds) }));
    }
}

/// A caller that waits for so many minutes.
fn patient_for(minutes: u64) -> Caller {
    Caller { deadline: Some(Instant::now() + Duration::from_mins(minutes)), presence: None }
}

/// Begins to wait for a job whose number goes into `done` when it is run, once it is in the queue.
async fn queue(
    pool: &Arc<HashPool>,
    caller: Caller,
    size: Size,
    number: usize,
    done: &Arc<Mutex<Vec<usize>>>,
) -> tokio::task::JoinHandle<Result<Output, PoolError>> {
    let wanted = || pool.0.lock().queue.iter().filter(|job| !job.is_abandoned()).count();
    let before = wanted();
    let (own, done) = (Arc::clone(pool), Arc::clone(done));
    let work = move |_: &mut Memory| {
        done.lock().unwrap().push(number);
        output()
    };
    let task = tokio::spawn(async move { own.run(caller, size, work).await });
    until(|| wanted() > before || task.is_finished()).await;
    task
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_served_in_time_is_refused_at_arrival_and_nobody_overtakes() {
    // S61
    let pool = Arc::new(HashPool::start(1, 100).unwrap());
    let (release, running) = occupy(&pool, Size::Usual).await;
    pool.0.lock().job_time = Duration::from_mins(10);
    let done = Arc::default();
    // With the job that runs, the next would be done after 20 minutes, the one after it after 30, and so on.
    let mut waiting = Vec::new();
    for (number, patience) in [(0, 25), (1, 1000), (2, 45)] {
        waiting.push(queue(&pool, patient_for(patience), Size::Usual, number, &done).await);
    }
    let late = queue(&pool, patient_for(45), Size::Usual, 3, &done).await.await.unwrap();
    assert_eq!(late, Err(PoolError::Full { retry_after: Duration::from_mins(40) }));
    waiting.push(queue(&pool, Caller::default(), Size::Usual, 4, &done).await);
    assert_eq!(pool.0.lock().queue.len(), 4);

    pool.0.lock().job_time = Duration::ZERO;
    drop(release);
    running.await.unwrap().unwrap();
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    assert_eq!(*done.lock().unwrap(), [0, 1, 2, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_threads_serve_who_one_would_not() {
    // S61
    let pool = Arc::new(HashPool::start(2, 100).unwrap());
    let (_first, _running) = occupy(&pool, Size::Usual).await;
    let (_second, _running_too) = occupy(&pool, Size::Usual).await;
    pool.0.lock().job_time = Duration::from_mins(10);
    let done = Arc::default();
    // The third of two at a time is done after 15 minutes, the fourth after 20.
    let third = queue(&pool, patient_for(18), Size::Usual, 3, &done).await;
    let fourth = queue(&pool, patient_for(18), Size::Usual, 4, &done).await;
    assert!(!third.is_finished());
    assert!(matches!(fourth.await.unwrap(), Err(PoolError::Full { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_has_become_too_late_is_dropped_unbegun() {
    // S61
    let pool = Arc::new(HashPool::start(1, 100).unwrap());
    let (release, running) = occupy(&pool, Size::Usual).await;
    let done = Arc::default();
    // How long a job takes is not known yet, and then it is longer than thought.
    let hurried = queue(&pool, patient_for(60), Size::Usual, 0, &done).await;
    let patient = queue(&pool, patient_for(10_000), Size::Usual, 1, &done).await;
    pool.0.lock().job_time = Duration::from_hours(2);
    drop(release);
    running.await.unwrap().unwrap();
    assert!(matches!(hurried.await.unwrap(), Err(PoolError::Full { .. })));
    patient.await.unwrap().unwrap();
    assert_eq!(*done.lock().unwrap(), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_deadline_has_passed_is_dropped_unbegun() {
    // S61
    let pool = Arc::new(HashPool::start(1, 100).unwrap());
    let (release, running) = occupy(&pool, Size::Usual).await;
    let done = Arc::default();
    let passed = queue(&pool, patient_for(60), Size::Usual, 0, &done).await;
    pool.0.lock().queue[0].caller.deadline = Some(Instant::now());
    drop(release);
    running.await.unwrap().unwrap();
    assert!(matches!(passed.await.unwrap(), Err(PoolError::Full { .. })));
    assert!(done.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_left_makes_nobody_late() {
    // S61
    let pool = Arc::new(HashPool::start(1, 100).unwrap());
    let (_release, _running) = occupy(&pool, Size::Usual).await;
    let done = Arc::default();
    let abandoned = queue(&pool, Caller::default(), Size::Usual, 0, &done).await;
    abandoned.abort();
    assert!(abandoned.await.unwrap_err().is_cancelled());
    pool.0.lock().job_time = Duration::from_mins(10);
    let next = queue(&pool, patient_for(25), Size::Usual, 1, &done).await;
    assert!(!next.is_finished());
    assert_eq!(pool.0.lock().queue.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_average_that_one_slow_job_has_spoilt_is_mended() {
    let pool = HashPool::start(1, 100).unwrap();
    pool.0.lock().job_time = Duration::from_hours(1);
    for _ in 0..100 {
        pool.run(patient_for(1), Size::Usual, |_| output()).await.unwrap();
    }
    assert!(pool.0.lock().job_time < Duration::from_mins(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_job_waits_for_another_one_and_holds_nobody_up() {
    // S61
    let pool = Arc::new(HashPool::start(3, 100).unwrap());
    let (release, running) = occupy(&pool, Size::Large).await;
    let done = Arc::default();
    let mut waiting = Vec::new();
    for number in [0, 1] {
        waiting.push(queue(&pool, Caller::default(), Size::Large, number, &done).await);
    }
    // Who came after them goes on, on either of the two other threads.
    let (_second, _running_too) = occupy(&pool, Size::Usual).await;
    pool.run(Caller::default(), Size::Usual, |_| output()).await.unwrap();
    assert_eq!(pool.stats().waiting, 2);
    assert!(done.lock().unwrap().is_empty());
    drop(release);
    running.await.unwrap().unwrap();
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    assert_eq!(*done.lock().unwrap(), [0, 1]);
    // One that panics does not keep the others out.
    assert!(matches!(
        pool.run(Caller::default(), Size::Large, |_| panic!("in a job")).await,
        Err(PoolError::Failed)
    ));
    assert!(pool.run(Caller::default(), Size::Large, |_| output()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_job_that_waits_is_late_like_any_other() {
    // S61: a thread is free, but not for it.
    let pool = Arc::new(HashPool::start(2, 100).unwrap());
    let (_release, _running) = occupy(&pool, Size::Large).await;
    pool.0.lock().job_time = Duration::from_mins(10);
    let late = pool.run(patient_for(5), Size::Large, |_| output()).await;
    assert!(matches!(late, Err(PoolError::Full { .. })));
    assert!(pool.run(patient_for(5), Size::Usual, |_| output()).await.is_ok());
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_threads_give_way_to_all_others() {
    // S61
    let own = rustix::process::getpriority_process(None).unwrap();
    let (tell, told) = mpsc::channel();
    let pool = HashPool::start(1, 0).unwrap();
    let work = move |_: &mut Memory| {
        tell.send(rustix::process::getpriority_process(None).unwrap()).unwrap();
        output()
    };
    pool.run(Caller::default(), Size::Usual, work).await.unwrap();
    assert_eq!(told.recv().unwrap(), (own + 10).min(19));
    assert_eq!(rustix::process::getpriority_process(None).unwrap(), own, "and nothing else does");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_threads_end_with_the_pool() {
    let pool = HashPool::start(3, 8).unwrap();
    pool.run(Caller::default(), Size::Usual, |_| output()).await.unwrap();
    let shared = Arc::downgrade(&pool.0);
    drop(pool);
    until(|| shared.strong_count() == 0).await;
}
