//! What is read of a certificate beside what rustls checks: when it expires, and whose it is.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use x509_cert::{
    Certificate,
    der::{
        Decode,
        asn1::{ObjectIdentifier, PrintableStringRef, Utf8StringRef},
    },
    ext::pkix::{SubjectAltName, name::GeneralName},
};

/// `commonName` (RFC 5280, appendix A.1).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The most that is written of a name, in characters.
const MAX_NAME: usize = 256;

/// When it expires, in seconds since 1970.
pub fn expiry(certificate: &CertificateDer<'_>) -> Option<i64> {
    let certificate = Certificate::from_der(certificate).ok()?;
    i64::try_from(certificate.tbs_certificate.validity.not_after.to_unix_duration().as_secs()).ok()
}

/// Whose it is, for the log: the first URI of its subject's alternative names (as SPIFFE has it), else the first DNS name,
/// else the common name, else `-`. Its authority vouches for it, and nothing is allowed by it.
pub fn of(certificate: &CertificateDer<'_>) -> Arc<str> {
    let name = Certificate::from_der(certificate).ok().and_then(|certificate| name(&certificate));
    name.map_or_else(|| Arc::from("-"), |name| name.chars().take(MAX_NAME).collect::<String>().into())
}

fn name(certificate: &Certificate) -> Option<String> {
    let certificate = &certificate.tbs_certificate;
    let SubjectAltName(names) =
        certificate.get().ok().flatten().map_or_else(|| SubjectAltName(Vec::new()), |(_, names)| names);
    let uri = names.iter().find_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
        _ => None,
    });
    let dns = names.iter().find_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        _ => None,
    });
    uri.or(dns).or_else(|| {
        let parts = certificate.subject.0.iter().flat_map(|part| part.0.iter());
        let value = &parts.into_iter().find(|part| part.oid == COMMON_NAME)?.value;
        let utf8 = value.decode_as::<Utf8StringRef<'_>>().map(|name| name.to_string());
        utf8.or_else(|_| value.decode_as::<PrintableStringRef<'_>>().map(|name| name.to_string())).ok()
    })
}
