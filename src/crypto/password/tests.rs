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
        (
            "$argon2i$v=19$m=19456,t=2,p=1$c29tZXNhbHQwMTIzNDU2Nw$Itwj+Zy04vLq31H6jQ+npTNbZ32TsQou61oV2jBFBkM"
                .to_owned(),
            Verdict::MatchButWeaker,
        ),
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

/// Made by libxcrypt from `PASSWORD`, with a cost of 4: salt and hash.
const BCRYPT: &str = "abcdefghijklmnopqrstuu7EJV7kdjBBQxyb0HjTh9KS7.Lah/6CG";

#[tokio::test]
async fn bcrypt_of_other_systems_verifies_and_asks_to_be_replaced() {
    // S6. The hashes are libxcrypt's.
    let hasher = hasher();
    let verdict = async |stored: &str, password: &str| {
        hasher.verify(password.into(), Some(stored), Caller::default()).await
    };
    for version in ["2a", "2b", "2y"] {
        let stored = format!("${version}$04${BCRYPT}");
        assert_eq!(verdict(&stored, PASSWORD).await, Ok(Verdict::MatchButWeaker), "{stored}");
        assert_eq!(verdict(&stored, "wrong").await, Ok(Verdict::NoMatch), "{stored}");
    }
    let costly = "$2b$10$abcdefghijklmnopqrstuuGGgFFcYeueaAql8Z7U7CnCTRw4DR77W";
    assert_eq!(verdict(costly, PASSWORD).await, Ok(Verdict::MatchButWeaker));
    let (empty, accents) = (
        "$2b$04$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq",
        "$2b$04$abcdefghijklmnopqrstuuPpQnWVHupff4iLD/.sYL4Nrd8TwFjMm",
    );
    assert_eq!(verdict(empty, "").await, Ok(Verdict::MatchButWeaker));
    assert_eq!(verdict(accents, "caf\u{e9} \u{1f600}").await, Ok(Verdict::MatchButWeaker));
    // A salt whose last bits, which mean nothing, are set.
    let odd = format!("$2b$04${}v{}", &BCRYPT[..21], &BCRYPT[22..]);
    assert_eq!(verdict(&odd, PASSWORD).await, Ok(Verdict::MatchButWeaker));
    assert_eq!(hasher.dummy_runs(), 0);
}

#[tokio::test]
async fn bcrypt_looks_at_72_bytes_and_is_not_taken_in_by_a_nul() {
    // S2, S6
    let hasher = hasher();
    let matches = async |stored: &str, password: String| {
        let verdict = hasher.verify(password.into(), Some(stored), Caller::default()).await;
        verdict.unwrap() != Verdict::NoMatch
    };
    // Of 80 times x.
    let long = "$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i";
    for (length, expected) in [(71, false), (72, true), (80, true), (128, true)] {
        assert_eq!(matches(long, "x".repeat(length)).await, expected, "{length}");
    }
    // Of "abc": the text is repeated with the NUL that ends it.
    let short = "$2b$04$abcdefghijklmnopqrstuuCi15uRb1eH7NAlJ/TgeJertyknQpYn2";
    assert!(matches(short, "abc".into()).await);
    for other in ["abc\0abc", "abc\0", "abc\0x", "\0abc"] {
        assert!(!matches(short, other.into()).await, "{other:?}");
    }
}

#[test]
fn what_another_system_hashed_is_taken_at_a_cost_that_can_be_borne() {
    // S6
    let output = "TCGkyEIb1oP5PkskxJEooy8qzHEScFQZam0/hwasFDQ";
    let argon2i = format!("$argon2i$v=19$m=65536,t=3,p=4$c29tZXNhbHQwMTIzNDU2Nw${output}");
    for good in [
        reference("m=19456,t=2,p=1", output),
        // libsodium's "interactive".
        reference("m=65536,t=2,p=1", output),
        reference("m=65536,t=4,p=1", output),
        reference("m=26214,t=10,p=1", output),
        argon2i,
        format!("$2y$04${BCRYPT}"),
        "$2b$14$abcdefghijklmnopqrstuuZ8X3GfbYivifLbmoPOom9wqCo.jSzVy".into(),
    ] {
        assert_eq!(check_foreign(&good), Ok(()), "{good}");
    }
    for (bad, why) in [
        (reference("m=65537,t=1,p=1", output), "m=65537, and at most 65536"),
        // libsodium's "moderate".
        (reference("m=262144,t=3,p=1", output), "m=262144, and at most 65536"),
        (reference("m=65536,t=5,p=1", output), "m=65536 and t=5, which make 327680, and at most 262144"),
        (reference("m=26215,t=10,p=1", output), "m=26215 and t=10, which make 262150, and at most 262144"),
        (reference("m=1048577,t=1,p=1", output), "argon2id or argon2i"),
        (reference("m=4096,t=3,p=1", output), "argon2id or argon2i"),
        (reference("m=19456,t=2,p=1", ""), "argon2id or argon2i"),
        (reference("m=19456,t=2,p=1", output).replace("argon2id", "argon2d"), "argon2id or argon2i"),
        (format!("$2b$15${BCRYPT}"), "a cost of 4 to 14"),
        (format!("$2b$99${BCRYPT}"), "a cost of 4 to 14"),
        (format!("$2x$04${BCRYPT}"), "`$2a$`, `$2b$` or `$2y$`"),
        ("{SSHA}abcd".into(), "neither"),
        ("\u{1f980}".repeat(1000), "neither"),
        (format!("$2b$04$\u{1f980}{}", &BCRYPT[4..]), "`$2a$`, `$2b$` or `$2y$`"),
        (" ".into(), "neither"),
    ] {
        let refusal = check_foreign(&bad).unwrap_err().to_string();
        assert!(
            refusal.contains(why) && !refusal.contains(BCRYPT) && !refusal.contains(output),
            "{bad}: {refusal}"
        );
    }
}

#[tokio::test]
async fn what_is_not_on_the_allow_list_is_refused_at_the_same_cost() {
    // S6, S15. Where a reference output stands, the password is right and the string well-formed.
    let hasher = hasher();
    let output = "TCGkyEIb1oP5PkskxJEooy8qzHEScFQZam0/hwasFDQ";
    let foreign = [
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
        // 2 to the 15th rounds, versions that are not text's, and what is no bcrypt at all.
        "$2b$15$abcdefghijklmnopqrstuuZ8X3GfbYivifLbmoPOom9wqCo.jSzVy".into(),
        format!("$2b$03${BCRYPT}"),
        format!("$2b$4$0{BCRYPT}"),
        format!("$2b$+4${BCRYPT}"),
        format!("$2x$04${BCRYPT}"),
        format!("$2$04${BCRYPT}0"),
        format!("$2b$04${BCRYPT}0"),
        format!("$2b$04${}", &BCRYPT[1..]),
        format!("$2b$04${}=", &BCRYPT[1..]),
        format!("$2b$04${}\u{e9}{}", &BCRYPT[..21], &BCRYPT[23..]),
        "$2b$".into(),
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
    hasher.hash(PASSWORD.into(), None).await.unwrap();
    let matched = hasher.verify(PASSWORD.into(), Some(&larger), Caller::default()).await;
    assert_eq!(matched, Ok(Verdict::Match));
    let (tell, told) = std::sync::mpsc::channel();
    let work = move |memory: &mut Memory| {
        tell.send(memory.capacity()).unwrap();
        Output::new(&[7; 32]).ok()
    };
    hasher.0.pool.run(Caller::default(), Size::Usual, work).await.unwrap();
    // A block is 1 KiB.
    assert_eq!(told.recv().unwrap(), TODAY.memory_kib as usize);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_stored_hashes_that_take_more_memory_one_is_tried_at_a_time() {
    // S61
    let hasher = hasher();
    let larger = reference("m=24576,t=3,p=4", "Q+dbgR5+eBvJIhkkv7eBaE2BPo/Y5kFZF5dUrzrXAos");
    let (release, released) = std::sync::mpsc::channel::<()>();
    let other = hasher.clone();
    let running = tokio::spawn(async move {
        let work = move |_: &mut Memory| {
            let _ = released.recv();
            None
        };
        other.0.pool.run(Caller::default(), Size::Large, work).await
    });
    while hasher.stats().running == 0 {
        tokio::task::yield_now().await;
    }
    let other = hasher.clone();
    let waiting =
        tokio::spawn(async move { other.verify(PASSWORD.into(), Some(&larger), Caller::default()).await });
    while hasher.stats().waiting == 0 {
        assert!(!waiting.is_finished());
        tokio::task::yield_now().await;
    }
    assert!(hasher.hash(PASSWORD.into(), None).await.is_ok(), "a usual one goes on");
    assert_eq!(hasher.stats().waiting, 1);
    drop(release);
    assert_eq!(running.await.unwrap(), Err(PoolError::Failed));
    assert_eq!(waiting.await.unwrap(), Ok(Verdict::Match));
}
