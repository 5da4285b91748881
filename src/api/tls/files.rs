//! The PEM files, and what rustls makes of them. Everything is read before any of it is used, so that a certificate never meets
//! another's key.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use secrecy::zeroize::Zeroizing;

use super::names;

const CERT: &str = "server.tls.cert";
const KEY: &str = "server.tls.key";
const CLIENT_CA: &str = "server.tls.client_ca";

/// Where they are.
pub struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub client_ca: Option<PathBuf>,
}

/// What was in them at one time.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

/// Why they cannot be used. It tells nothing of what is in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The configuration key of the file.
    pub key: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// What connections can be encrypted with.
pub struct Ready {
    pub config: Arc<ServerConfig>,
    /// When the certificate expires, in seconds since 1970.
    pub expiry: i64,
}

impl Files {
    /// Reads them all.
    pub fn read(&self) -> Result<Content, Fault> {
        Ok(Content {
            cert: read(CERT, &self.cert)?,
            key: Zeroizing::new(read(KEY, &self.key)?),
            client_ca: self.client_ca.as_deref().map(|path| read(CLIENT_CA, path)).transpose()?,
        })
    }
}

impl Content {
    /// With this in the place of certificates, which it need not be.
    #[cfg(test)]
    pub fn of(cert: &str) -> Self {
        Self { cert: cert.into(), key: Zeroizing::default(), client_ca: None }
    }

    /// Makes sure that it fits together.
    pub fn parse(&self) -> Result<Ready, Fault> {
        let chain = certificates(CERT, &self.cert)?;
        let expiry = chain.first().and_then(names::expiry);
        let expiry = expiry.ok_or_else(|| fault(CERT, "holds a certificate that cannot be read"))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| fault(KEY, "holds no private key in PEM that can be read"))?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| fault(CERT, &error))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(CLIENT_CA, pem)? {
                    roots.add(certificate).map_err(|error| fault(CLIENT_CA, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| fault(CLIENT_CA, &error))?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                fault(KEY, "is not the key of the certificate in server.tls.cert")
            }
            error => fault(KEY, &error),
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if self.client_ca.is_some() {
            // A session that is resumed shows no certificate. So each connection shows one, and it is looked at by what
            // holds now: it may have expired, and its authority may have been removed.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Ready { config: Arc::new(config), expiry })
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, Fault> {
    fs::read(path).map_err(|error| fault(key, &format_args!("cannot read {}: {error}", path.display())))
}

/// Those in a file, of which there is at least one.
fn certificates(key: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(fault(key, "holds no certificate in PEM, or one that cannot be read")),
    }
}

fn fault(key: &'static str, problem: &(impl ToString + ?Sized)) -> Fault {
    Fault { key, problem: problem.to_string() }
}
