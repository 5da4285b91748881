//! Whoever has no account costs what somebody with one does (S15). That it takes the same time, `make bench` measures.

use countersign::{
    app,
    domain::{Client, Domain, Error, NewAccount},
    types::{DisplayName, Email, Password},
};

use crate::{
    common::Kind,
    on_both,
    support::{PASSWORD, Setup},
};

async fn guess(domain: &Domain, name: &str) {
    let email = Email::parse(&format!("{name}@example.com")).unwrap();
    let answer = domain.login(&email, Password::parse("not it at all").unwrap(), &Client::default()).await;
    assert!(matches!(answer, Err(Error::WrongEmailOrPassword)), "{answer:?}");
}

on_both! {
    async fn a_password_is_hashed_also_where_there_is_none_to_compare_with(database: Kind) {
        // S7, S15
        let setup = Setup::new(database).await;
        let (config, clock) = (setup.config(), setup.clock());
        let store = app::connect(&config, clock.clone()).await.unwrap();
        app::ready_schema(&config, &store).await.unwrap();
        let domain = app::domain(&config, store, clock, None).await.unwrap();
        for name in ["known", "without", "odd", "disabled"] {
            let account = NewAccount {
                email: Email::parse(&format!("{name}@example.com")).unwrap(),
                password: Password::parse(PASSWORD).unwrap(),
                name: DisplayName::parse("").unwrap(),
            };
            domain.create_user(account).await.unwrap();
        }
        let change = |set: &str, name: &str| format!("UPDATE users SET {set} WHERE email LIKE '{name}%'");
        setup.database().execute(&change("password_hash = NULL", "without")).await;
        setup.database().execute(&change("password_hash = 'md5:'", "odd")).await;
        setup.database().execute(&change("disabled_time = create_time", "disabled")).await;

        for (name, dummies) in [("known", 0), ("disabled", 0), ("nobody", 1), ("without", 1), ("odd", 1)] {
            let before = domain.dummy_hashes();
            guess(&domain, name).await;
            assert_eq!(domain.dummy_hashes() - before, dummies, "{name}");
        }
    }
}
