//! How many watch at once: what each is behind by is held in memory, and whoever comes again and again without leaving must not
//! take everybody's place (S62).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    domain::{Error, Result},
    types::UserId,
};

/// Of all callers: one a service that verifies tokens itself.
const MAX: usize = 1000;
/// Of one account, which may be that of several services.
const MAX_EACH: usize = 16;

/// The places, of which clones share one set.
#[derive(Clone, Default)]
pub struct Places(Arc<Mutex<HashMap<UserId, usize>>>);

/// One that is taken until this is dropped.
pub struct Place {
    places: Places,
    user_id: UserId,
}

impl Places {
    /// Takes one.
    ///
    /// # Errors
    /// `Overloaded` when there is none left, or none for this user.
    pub fn take(&self, user_id: UserId) -> Result<Place> {
        let mut taken = self.lock();
        let all: usize = taken.values().sum();
        let own = taken.get(&user_id).copied().unwrap_or_default();
        if all >= MAX || own >= MAX_EACH {
            return Err(Error::Overloaded { retry_after: Duration::from_secs(1) });
        }
        taken.insert(user_id, own + 1);
        Ok(Place { places: self.clone(), user_id })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, usize>> {
        // Nothing panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(own) = taken.get_mut(&self.user_id) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.user_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_everybodys_place() {
        // S62
        let places = Places::default();
        let user = |n: u128| UserId(uuid::Uuid::from_u128(n));
        let mut own: Vec<_> = (0..MAX_EACH).map(|_| places.take(user(0)).unwrap()).collect();
        assert!(matches!(places.take(user(0)), Err(Error::Overloaded { .. })));
        let others: Vec<_> =
            (MAX_EACH..MAX).map(|n| places.take(user(1 + n as u128 / 16)).unwrap()).collect();
        assert!(matches!(places.take(user(1000)), Err(Error::Overloaded { .. })));
        own.pop();
        drop(places.take(user(1000)).unwrap());
        drop(places.take(user(0)).unwrap());
        drop((own, others));
        assert!(places.lock().is_empty());
    }
}
