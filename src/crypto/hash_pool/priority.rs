//! How the system schedules a hashing thread: after those that answer calls (S61).
//!
//! Two things, both of the calling thread alone. Ten steps of **niceness**: where both want a core, hashing gets a tenth of it
//! (weights of 110 and 1024, sched(7)), and yet sign-ins never stand still, as they might at 19, beside whatever else the
//! machine does. And a longer **slice**: a thread that wakes interrupts one whose slice is longer than its own at once, while
//! among equal slices it waits for the end of a running one, which are milliseconds for a validation that takes microseconds
//! (Linux 6.12, `PREEMPT_SHORT`; older kernels ignore it).

/// Makes the calling thread give way to all others. The steps go from where the process stands: an operator may have
/// set that.
#[cfg(target_os = "linux")]
pub(super) fn give_way() {
    // On Linux both are of the calling thread, not of the process: setpriority(2), sched_setattr(2).
    if let Err(error) = rustix::process::nice(10) {
        tracing::debug!(%error, "password hashing keeps the priority of everything else");
    }
    if let Err(error) = take_long_slices() {
        tracing::debug!(%error, "password hashing keeps the slices of everything else");
    }
}

/// Elsewhere niceness is the whole process's.
#[cfg(not(target_os = "linux"))]
pub(super) fn give_way() {}

/// The longest slice that the kernel grants (ns).
#[cfg(target_os = "linux")]
const SLICE: u64 = 100_000_000;

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no crate offers sched_setattr(2) for ordinary threads")]
fn take_long_slices() -> std::io::Result<()> {
    let attributes = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).map_err(std::io::Error::other)?,
        sched_policy: 0, // SCHED_OTHER
        sched_flags: 0,
        sched_nice: rustix::process::getpriority_process(None)?,
        sched_priority: 0,
        sched_runtime: SLICE,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads `size` bytes of a structure that lives until the call returns, and writes none of them.
    let outcome = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if outcome == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gives_way_and_the_others_do_not() {
        // S61
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let hashing = std::thread::spawn(move || {
            give_way();
            nice()
        });
        assert_eq!(hashing.join().unwrap(), (before + 10).min(19));
        assert_eq!(nice(), before);
        std::thread::spawn(take_long_slices).join().unwrap().unwrap();
    }
}
