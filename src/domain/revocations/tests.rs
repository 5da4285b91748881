use super::*;

const DAY: Duration = Duration::from_hours(24);

fn now() -> Time {
    Time::from_micros(1_800_000_000_000_000)
}

fn entry(change: Change, position: i64) -> Entry {
    Entry { change: Some(change), position, expire_time: now() + DAY }
}

fn owner(scopes: &[&str], disabled: bool) -> Owner {
    Owner { disabled_time: disabled.then(now), scopes: Scopes::parse(scopes).unwrap() }
}

fn ids() -> (UserId, SessionId, KeyId) {
    (UserId::generate(now()), SessionId::generate(now()), KeyId::generate(now()))
}

#[test]
fn a_session_lives_unless_it_or_its_user_is_named() {
    // S28, S34
    let known = Revocations::default();
    let (user, session, _) = ids();
    let other = SessionId::generate(now());
    assert!(matches!(known.session(user, session, now()), Session::Alive));
    known.apply_own(&[Change::SessionEnded(session)], now() + DAY);
    assert!(matches!(known.session(user, session, now()), Session::Ended));
    assert!(matches!(known.session(user, other, now()), Session::Alive));
}

#[test]
fn a_changed_user_is_read_before_anything_is_said_of_them() {
    let known = Revocations::default();
    let (user, session, _) = ids();
    known.apply(vec![entry(Change::UserChanged(user), 1)]);
    assert!(matches!(known.session(user, session, now()), Session::Unknown));
    assert_eq!(known.unread_users(), [user]);
    let epoch = known.epoch();
    known.set_user(user, epoch, Some(owner(&["a"], false)));
    assert!(
        matches!(known.session(user, session, now()), Session::Limited(scopes) if scopes.to_list() == "a")
    );
    assert!(known.unread_users().is_empty());
    // What was read before the next change says nothing of it.
    known.apply_own(&[Change::UserChanged(user)], now() + DAY);
    known.set_user(user, epoch, Some(owner(&["a"], false)));
    assert!(matches!(known.session(user, session, now()), Session::Unknown));
    known.set_user(user, known.epoch(), Some(owner(&["a"], true)));
    assert!(matches!(known.session(user, session, now()), Session::Disabled));
    known.apply_own(&[Change::UserChanged(user)], now() + DAY);
    known.set_user(user, known.epoch(), None);
    assert!(matches!(known.session(user, session, now()), Session::Ended));
}

#[test]
fn what_was_read_of_a_key_holds_until_it_or_its_owner_changes() {
    let known = Revocations::default();
    let (user, _, key) = ids();
    for change in [Change::KeyChanged(key), Change::KeyEnded(key), Change::UserChanged(user)] {
        let epoch = known.epoch();
        assert!(known.key_holds(key, user, epoch));
        known.apply_own(&[change], now() + DAY);
        assert!(!known.key_holds(key, user, epoch), "{change:?}");
        assert!(known.key_holds(KeyId::generate(now()), UserId::generate(now()), epoch));
        assert!(known.key_holds(key, user, known.epoch()));
    }
}

#[test]
fn what_was_read_before_a_forgotten_change_is_not_used_again() {
    let known = Revocations::default();
    let (user, session, key) = ids();
    let before = known.epoch();
    known.apply_own(&[Change::KeyChanged(key), Change::SessionEnded(session)], now() + DAY);
    known.reached(1, now() + DAY - Duration::from_secs(1));
    assert!(matches!(known.session(user, session, now()), Session::Ended));
    known.reached(1, now() + DAY + SWEEP);
    assert!(matches!(known.session(user, session, now()), Session::Alive));
    assert!(!known.key_holds(key, user, before));
    assert!(known.key_holds(key, user, known.epoch()));
}

#[test]
fn void_records_are_read_anew_and_what_is_read_twice_is_known() {
    let known = Revocations::default();
    let (user, session, key) = ids();
    let entries = || {
        vec![
            entry(Change::UserChanged(user), 1),
            entry(Change::SessionEnded(session), 2),
            entry(Change::KeyEnded(key), 2),
        ]
    };
    assert_eq!(known.apply(entries()).len(), 3);
    known.set_user(user, known.epoch(), Some(owner(&["a"], false)));
    let before = known.epoch();
    assert!(known.apply(entries()).is_empty());
    assert!(known.key_holds(key, user, before) && known.unread_users().is_empty());
    known.void_records();
    assert!(!known.key_holds(key, user, before));
    assert!(!known.key_holds(KeyId::generate(now()), UserId::generate(now()), before));
    assert!(known.key_holds(key, user, known.epoch()));
    assert_eq!(known.changed_users(), [user]);
    assert!(known.apply(entries()).is_empty());
}

#[test]
fn a_watch_begins_where_it_is_asked_to_and_misses_nothing() {
    let known = Revocations::default();
    let (user, session, key) = ids();
    let told = |position| {
        let (news, _) = known.watch(position, now()).unwrap();
        let mut at: Vec<_> = news.entries.iter().map(|entry| entry.position).collect();
        at.sort_unstable();
        (news.restarted, at)
    };
    let all = [
        entry(Change::SessionEnded(session), 5),
        entry(Change::UserChanged(user), 7),
        entry(Change::KeyEnded(key), 9),
        entry(Change::SigningKeysChanged, 11),
    ];
    known.apply(all.to_vec());
    known.reached(12, now());
    assert_eq!(told(0), (true, vec![5, 7, 9, 11]));
    assert_eq!(told(8), (false, vec![9, 11]));
    assert_eq!(told(12), (false, vec![]));
    // A cursor of another database.
    assert_eq!(told(13), (true, vec![5, 7, 9, 11]));
    // What was changed here and not read back is told, and told again when it is.
    known.apply_own(&[Change::SessionEnded(SessionId::generate(now()))], now() + DAY);
    assert_eq!(told(12), (false, vec![i64::MAX]));
    // What has expired is not.
    assert!(known.watch(0, now() + DAY).unwrap().0.entries.is_empty());
}

#[test]
fn a_watch_begins_anew_when_keys_that_it_was_not_told_of_were_forgotten() {
    let known = Revocations::default();
    let key = |n: usize| Change::KeyChanged(KeyId(uuid::Uuid::from_u128(n as u128)));
    let restarted = |position| known.watch(position, now()).unwrap().0.restarted;
    // Read ahead of the position: an older transaction is open still.
    known.apply(vec![entry(key(0), 20)]);
    known.reached(10, now());
    let own: Vec<_> = (1..=MAX_OTHERS).map(key).collect();
    known.apply_own(&own, now() + DAY);
    assert!(restarted(10));
    known.reached(21, now());
    assert!(restarted(20));
    assert!(!restarted(21));
}

#[test]
fn that_there_is_no_news_is_told_once_a_second() {
    let known = Revocations::default();
    let (_, mut news) = known.watch(0, now()).unwrap();
    let look = |millis, entries| known.known_as_of(Duration::from_millis(millis), now(), entries, false);
    for millis in 10_000..11_000 {
        look(millis, vec![]);
    }
    assert_eq!(news.len(), 1);
    look(11_000, vec![]);
    look(11_001, vec![entry(Change::SigningKeysChanged, 1)]);
    assert_eq!(news.len(), 3);
    news.try_recv().unwrap();
}

#[test]
fn more_than_can_be_held_is_left_to_the_database() {
    // S62
    let known = Revocations::default();
    let changes: Vec<_> =
        (0..=MAX_OTHERS).map(|n| Change::UserChanged(UserId(uuid::Uuid::from_u128(n as u128)))).collect();
    known.apply_own(&changes, now() + DAY);
    let (user, session, key) = ids();
    assert!(matches!(known.session(user, session, now()), Session::Unknown));
    // Also of a user who is known: it may be the session that found no place.
    let held = UserId(uuid::Uuid::from_u128(0));
    known.set_user(held, known.epoch(), Some(owner(&["a"], false)));
    assert!(matches!(known.session(held, session, now()), Session::Unknown));
    assert!(known.watch(0, now()).is_none());
    assert!(known.key_holds(key, user, known.epoch()));
    assert!(!known.key_holds(key, user, known.epoch() - 1));
    // For as long as it matters.
    assert!(matches!(known.session(user, session, now() + DAY), Session::Alive));
    // Keys that changed make room by forgetting all of them.
    let changes: Vec<_> =
        (0..=MAX_OTHERS).map(|n| Change::KeyChanged(KeyId(uuid::Uuid::from_u128(n as u128)))).collect();
    let before = known.epoch();
    known.apply_own(&changes, now() + DAY);
    assert!(!known.key_holds(KeyId(uuid::Uuid::from_u128(0)), user, before));
}
