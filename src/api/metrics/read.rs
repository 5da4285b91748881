//! Every metric there is, by its name, and where its number is from. `docs/operations.md` says what they mean; a test holds
//! the two together.

use std::sync::atomic::Ordering::Relaxed;

use super::{
    CODES, Metrics, Rpc,
    page::{Page, Samples},
};
use crate::{
    api::pb::CredentialStatus,
    domain::{Domain, stats::Stats},
};

impl Metrics {
    /// All of them, as they are now.
    pub async fn page(&self, domain: &Domain, is_ready: bool) -> String {
        let mut page = Page::default();
        self.requests(&mut page);
        let stats = domain.stats();
        passwords(&mut page, &stats);
        caches(&mut page, &stats);
        database(&mut page, &stats);
        mails(&mut page, &stats);
        // Of a database that is away nothing is told, rather than something old.
        if let Ok((count, oldest)) = domain.waiting_mails().await {
            page.gauge("countersign_mails_waiting", "Mails to be sent, of all replicas.", |samples| {
                samples.count(&[], count);
            });
            page.gauge(
                "countersign_mail_oldest_age_seconds",
                "For how long the oldest of them has waited; 0 when there is none.",
                |samples| samples.add(&[], oldest.unwrap_or_default().as_secs_f64()),
            );
        }
        signing_keys(&mut page, &stats);
        self.service(&mut page, is_ready);
        page.finish()
    }

    fn requests(&self, page: &mut Page) {
        let mut rpcs: Vec<_> = self.by_path.values().chain([&self.other]).collect();
        rpcs.sort_unstable_by(|one, other| one.label.cmp(&other.label));
        page.counter(
            "countersign_requests_total",
            "Requests by RPC and code of gRPC, of all doors.",
            |samples| {
                for rpc in &rpcs {
                    rpc.codes(samples);
                }
            },
        );
        page.histogram(
            "countersign_request_duration_seconds",
            "From a request's headers to its answer's.",
            |samples| {
                for rpc in &rpcs {
                    samples.durations(&[("rpc", &rpc.label)], &rpc.durations.read());
                }
            },
        );
        page.counter(
            "countersign_verdicts_total",
            "What credentials were worth that ValidateCredential and BatchValidateCredentials were asked about.",
            |samples| {
                for (number, total) in self.verdicts.totals().into_iter().enumerate().skip(1) {
                    let status = i32::try_from(number).ok().and_then(|n| CredentialStatus::try_from(n).ok());
                    let name = status.unwrap_or_default().as_str_name();
                    let name = name.strip_prefix("CREDENTIAL_STATUS_").unwrap_or(name);
                    samples.count(&[("status", name)], total);
                }
            },
        );
    }

    fn service(&self, page: &mut Page, is_ready: bool) {
        let connections = u64::try_from(self.connections.load(Relaxed)).unwrap_or_default();
        page.gauge("countersign_connections", "Open connections of clients.", |samples| {
            samples.count(&[], connections);
        });
        let expiry = u64::try_from(self.certificate_expiry.load(Relaxed)).unwrap_or_default();
        page.gauge(
            "countersign_tls_certificate_expiry_timestamp_seconds",
            "When the certificate that is served expires.",
            |samples| {
                if expiry > 0 {
                    samples.count(&[], expiry);
                }
            },
        );
        page.gauge(
            "countersign_ready",
            "Whether this replica should be asked, as /readyz says.",
            |samples| {
                samples.count(&[], u64::from(is_ready));
            },
        );
        page.gauge("countersign_build_info", "1; the version is in the label.", |samples| {
            samples.count(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        });
    }
}

impl Rpc {
    /// OK always, so that a rate can be told from the first request on; the others once there are any.
    fn codes(&self, samples: &mut Samples) {
        for (code, total) in CODES.into_iter().zip(self.codes.totals()) {
            if total > 0 || code == "OK" {
                samples.count(&[("rpc", &self.label), ("code", code)], total);
            }
        }
    }
}

fn passwords(page: &mut Page, stats: &Stats) {
    let passwords = &stats.passwords;
    page.gauge("countersign_password_hashes_waiting", "Passwords that wait to be hashed.", |samples| {
        samples.count(&[], passwords.waiting as u64);
    });
    page.gauge("countersign_password_hashes_running", "Passwords that are being hashed.", |samples| {
        samples.count(&[], passwords.running as u64);
    });
    page.counter(
        "countersign_password_hashes_refused_total",
        "Passwords that were not hashed: too many waited, or it would have been too late.",
        |samples| samples.count(&[], passwords.refused),
    );
    page.histogram("countersign_password_hash_duration_seconds", "How long a hash takes.", |samples| {
        samples.durations(&[], &passwords.durations);
    });
}

fn caches(page: &mut Page, stats: &Stats) {
    let caches = [("tokens", stats.tokens), ("keys", stats.keys)];
    page.counter(
        "countersign_cache_requests_total",
        "Questions to a cache, and whether it knew.",
        |samples| {
            for (cache, stats) in caches {
                samples.count(&[("cache", cache), ("result", "hit")], stats.hits);
                samples.count(&[("cache", cache), ("result", "miss")], stats.misses);
            }
        },
    );
    page.gauge("countersign_cache_entries", "What a cache holds.", |samples| {
        for (cache, stats) in caches {
            samples.count(&[("cache", cache)], stats.entries as u64);
        }
    });
}

fn database(page: &mut Page, stats: &Stats) {
    let connections = &stats.connections;
    page.gauge("countersign_database_connections", "Open connections to the database.", |samples| {
        samples.count(&[("state", "idle")], connections.idle.into());
        samples.count(&[("state", "used")], connections.used.into());
    });
    page.gauge("countersign_database_connections_max", "Connections held at most.", |samples| {
        samples.count(&[], connections.max.into());
    });
    page.gauge("countersign_knowledge_age_seconds", "How old the knowledge of revocations is.", |samples| {
        if let Some(age) = stats.knowledge_age {
            samples.add(&[], age.as_secs_f64());
        }
    });
    page.gauge("countersign_ended_sessions", "Ended sessions that are held in memory.", |samples| {
        samples.count(&[], stats.ended_sessions as u64);
    });
    page.gauge("countersign_revocation_watchers", "Streams of WatchRevocations.", |samples| {
        samples.count(&[], stats.watchers as u64);
    });
}

fn mails(page: &mut Page, stats: &Stats) {
    page.counter("countersign_mails_total", "Tries to send mails, and those given up.", |samples| {
        for (kind, outcomes) in &stats.mails {
            samples.count(&[("kind", kind), ("outcome", "sent")], outcomes.sent);
            samples.count(&[("kind", kind), ("outcome", "failed")], outcomes.failed);
            samples.count(&[("kind", kind), ("outcome", "dead")], outcomes.dead);
        }
    });
}

fn signing_keys(page: &mut Page, stats: &Stats) {
    page.gauge("countersign_signing_key_age_seconds", "How long the key that signs has signed.", |samples| {
        if let Some(age) = stats.signing_key_age {
            samples.add(&[], age.as_secs_f64());
        }
    });
    page.gauge("countersign_signing_keys", "Signing keys, by what they are for now.", |samples| {
        let keys = stats.signing_keys;
        for (state, count) in [("next", keys.next), ("signing", keys.signing), ("retiring", keys.retiring)] {
            samples.count(&[("state", state)], count as u64);
        }
    });
}
