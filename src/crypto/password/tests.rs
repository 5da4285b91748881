//! Which hashes verify, and what else is promised of them.

use super::*;

const TODAY: Params = Params { memory_kib: 19456, iterations: 2, parallelism: 1 };
const PASSWORD: &str = "correct horse battery staple";

fn hasher() -> PasswordHasher {
    PasswordHasher::start(TODAY, 2, 64).unwrap()
}

/// Made by the reference implementation (argon2-cffi) from `PASSWORD` and the salt "somesalt01234567".
fn reference(params: &str, output: &str) -> String {
    format!("$argon2id$v=19${params}$c29tZXNhbHQwMTIzNDU2Nw${output}")
}

#[tokio::test]
async fn what_was_hashed_verifies_and_nothing_else_does() {
    let hasher = hasher();
    for password in [PASSWORD, "", "caf\u{e9} \u{1f600}\0", &"\u{1f600}".repeat(128)] {
        let stored = hasher.hash(password.into(), None).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}"); // S5
        assert_eq!(
            hasher.verify(password.into(), Some(&stored), Caller::default()).await,
            Ok(Verdict::Match)
        );
        let other = format!("{password}x");
        assert_eq!(hasher.verify(other.into(), Some(&stored), Caller::default()).await, Ok(Verdict::NoMatch));
    }
    let twice = [
        hasher.hash(PASSWORD.into(), None).await.unwrap(),
        hasher.hash(PASSWORD.into(), None).await.unwrap(),
    ];
    assert_ne!(twice[0], twice[1], "each has a salt of its own");
    assert_eq!(hasher.dummy_runs(), 0);
}

#[tokio::test]
async fn hashes_of_the_reference_implementation_verify() {
    // S6: a weaker one asks to be replaced, a stronger one does not.
    let hasher = hasher();
    let short_salt = "$argon2id$v=19$m=19456,t=2,p=1$OGJ5dGVzISE$WPZJXtlaldTReoM28xW1fXq6lG+j/i1IjK19adrIDv8";
    for (stored, verdict) in [
        (reference("m=19456,t=2,p=1", "TCGkyEIb1oP5PkskxJEooy8qzHEScFQZam0/hwasFDQ"), Verdict::Match),
        (reference("m=24576,t=3,p=4", "Q+dbgR5+eBvJIhkkv7eBaE2BPo/Y5kFZF5dUrzrXAos"), Verdict::Match),
        (
            reference("m=12288,t=3,p=1", "cgU6QwiXk7C7khT2askebs3a20i+Sa+1qOAo1RyHJtc"),
            Verdict::MatchButWeaker,
        ),
        (reference("m=7168,t=5,p=1", "umBDNTOKGBZyOxSfbs0TSIPqeQs7uMUtvPLdnK81oP4"), Verdict::MatchButWeaker),
        (reference("m=19456,t=2,p=1", "Wh/qPkfzeEo2Z7AJs4vhtw"), Verdict::MatchButWeaker),
        (short_salt.to_owned(), Verdict::MatchButWeaker),
    ] {
        assert_eq!(
            hasher.verify(PASSWORD.into(), Some(&stored), Caller::default()).await,
            Ok(verdict),
            "{stored}"
        );
        assert_eq!(
            hasher.verify("wrong".into(), Some(&stored), Caller::default()).await,
            Ok(Verdict::NoMatch),
            "{stored}"
        );
    }
}

#[tokio::test]
async fn what_is_not_on_the_allow_list_is_refused_at_the_same_cost() {
    // S6, S15. Where a reference output stands, the password is right and the string well-formed.
    let hasher = hasher();
    let output = "TCGkyEIb1oP5PkskxJEooy8qzHEScFQZam0/hwasFDQ";
    let foreign = [
        "$argon2i$v=19$m=19456,t=2,p=1$c29tZXNhbHQwMTIzNDU2Nw$Itwj+Zy04vLq31H6jQ+npTNbZ32TsQou61oV2jBFBkM"
            .into(),
        "$argon2d$v=19$m=19456,t=2,p=1$c29tZXNhbHQwMTIzNDU2Nw$vMGd94ZKql3LKj8v89Co4s+q1QpH/X3vcqrwhzhfhRQ"
            .into(),
        "$argon2id$v=16$m=19456,t=2,p=1$c29tZXNhbHQwMTIzNDU2Nw$0zpHaqi7ypHas3VBmWccQrhgcby3N9pgkTTD9qq7PYg"
            .into(),
        format!("$argon2id$m=19456,t=2,p=1$c29tZXNhbHQwMTIzNDU2Nw${output}"),
        reference("m=7167,t=5,p=1", "alpnn4nHXX9FrZriiTqQ+AUCJpgjcr5Hib8k1RUmj18"),
        reference("m=19456,t=11,p=1", "4FZn28a4olY0zEvua/GfDSHi8kee1GCOYMyCezvVqUs"),
        reference("m=19456,t=2,p=17", "YMq/a4Zz2oNF4hRjRvKNHPK+WFL57V/H23vMvZYtg+k"),
        reference("m=19456,t=2,p=1", "tg6PxPk2zhQbKt7j"),
        reference("m=4294967295,t=2,p=1", output),
        reference("m=1048577,t=2,p=1", output),
        reference("m=19456,t=0,p=1", output),
        reference("m=19456,t=2,p=0", output),
        reference("m=19456,t=2", output),
        reference("m=19456,t=2,p=1,keyid=AAAA", output),
        reference("m=19456,t=2,data=AAAA", output),
        format!("$argon2id$v=19$c29tZXNhbHQwMTIzNDU2Nw${output}"),
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQwMTIzNDU2Nw".into(),
        "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW".into(),
        PASSWORD.into(),
        String::new(),
    ];
    for (n, stored) in (1..).zip(&foreign) {
        assert_eq!(
            hasher.verify(PASSWORD.into(), Some(stored), Caller::default()).await,
            Err(HashError::Unsupported),
            "{stored}"
        );
        assert_eq!(hasher.dummy_runs(), n);
    }
}

#[tokio::test]
async fn without_a_hash_the_dummy_is_checked() {
    // S15
    let hasher = hasher();
    for (n, password) in (1..).zip(["", PASSWORD]) {
        assert_eq!(hasher.verify(password.into(), None, Caller::default()).await, Ok(Verdict::NoMatch));
        assert_eq!(hasher.dummy_runs(), n);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_at_once_are_told_to_come_back() {
    // S61
    let hasher = PasswordHasher::start(TODAY, 1, 1).unwrap();
    let attempts: Vec<_> = (0..50)
        .map(|_| {
            let hasher = hasher.clone();
            tokio::spawn(async move { hasher.hash(PASSWORD.into(), None).await })
        })
        .collect();
    let (mut done, mut refused) = (0, 0);
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok(_) => done += 1,
            Err(HashError::Overloaded { retry_after }) => {
                assert!(retry_after >= Duration::from_secs(1));
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(done >= 2 && refused >= 1, "{done} done, {refused} refused");
    assert_eq!(done + refused, 50);
}

#[test]
fn parameters_that_would_not_verify_do_not_start() {
    for params in [
        Params { memory_kib: 7167, ..TODAY },
        Params { iterations: 0, ..TODAY },
        Params { parallelism: 17, ..TODAY },
    ] {
        assert!(matches!(PasswordHasher::start(params, 1, 1), Err(StartError::Params(p)) if p == params));
    }
}

#[tokio::test]
async fn a_stored_hash_that_takes_more_memory_does_not_keep_it() {
    // S61, S62
    let hasher = PasswordHasher::start(TODAY, 1, 1).unwrap();
    let larger = reference("m=24576,t=3,p=4", "Q+dbgR5+eBvJIhkkv7eBaE2BPo/Y5kFZF5dUrzrXAos");
    let matched = hasher.verify(PASSWORD.into(), Some(&larger), Caller::default()).await;
    assert_eq!(matched, Ok(Verdict::Match));
    let (tell, told) = std::sync::mpsc::channel();
    let work = move |memory: &mut Memory| {
        tell.send(memory.capacity()).unwrap();
        Output::new(&[7; 32]).ok()
    };
    hasher.0.pool.run(Caller::default(), work).await.unwrap();
    // A block is 1 KiB.
    assert_eq!(told.recv().unwrap(), TODAY.memory_kib as usize);
}
