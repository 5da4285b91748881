//! PostgreSQL over TLS, with libpq's words: `sslmode` and `sslrootcert`.

use std::{fs, sync::Arc};

use percent_encoding::percent_decode_str;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How connections are encrypted.
#[derive(Clone)]
pub(super) struct Tls(ClientConfig);

/// What of the server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// Nothing (`prefer`, `require`): encrypted, but not safe from an active attacker.
    Nothing,
    /// Who signed it (`verify-ca`, and `require` when a root certificate is given, as in libpq).
    Authority,
    /// Who signed it and for which host (`verify-full`).
    AuthorityAndHost,
}

impl Tls {
    /// Takes `sslmode` and `sslrootcert` out of a URL: `tokio_postgres` reads neither `verify-full` nor the latter.
    /// `None` means no TLS.
    pub(super) fn from_url(url: &str) -> Result<(String, Option<Self>), String> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut mode = "prefer";
        let mut root = None;
        let mut kept = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = value,
                Some(("sslrootcert", value)) => root = Some(decoded(value)?),
                _ => kept.push(pair),
            }
        }
        let root = root.filter(|root| root != "system");
        let (kept_mode, check) = match mode {
            "disable" => ("disable", None),
            "prefer" => ("prefer", Some(Check::Nothing)),
            "require" if root.is_none() => ("require", Some(Check::Nothing)),
            "require" | "verify-ca" => ("require", Some(Check::Authority)),
            "verify-full" => ("require", Some(Check::AuthorityAndHost)),
            other => {
                return Err(format!(
                    "sslmode={other} is not one of disable, prefer, require, verify-ca, verify-full"
                ));
            }
        };
        let tls = check.map(|check| Self::new(check, root.as_deref())).transpose()?;
        let kept_mode = format!("sslmode={kept_mode}");
        kept.push(&kept_mode);
        Ok((format!("{base}?{}", kept.join("&")), tls))
    }

    pub(super) fn connector(&self) -> MakeRustlsConnect {
        MakeRustlsConnect::new(self.0.clone())
    }

    fn new(check: Check, root: Option<&str>) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let inner = match check {
            Check::Nothing => None,
            Check::Authority | Check::AuthorityAndHost => {
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(roots(root)?.into(), provider.clone());
                Some(verifier.build().map_err(|e| format!("sslrootcert: {e}"))?)
            }
        };
        let verifier = Verifier { check, inner, provider: provider.clone() };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Self(config))
    }
}

fn decoded(value: &str) -> Result<String, String> {
    let text = percent_decode_str(value).decode_utf8().map_err(|e| format!("sslrootcert: {e}"))?;
    Ok(text.into_owned())
}

/// The certificates of a file, or the system's.
fn roots(file: Option<&str>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = file {
        let pem = fs::read(file).map_err(|e| format!("sslrootcert={file}: {e}"))?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|e| format!("sslrootcert={file}: {e}"))?;
            roots.add(certificate).map_err(|e| format!("sslrootcert={file}: {e}"))?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        return Err(format!("sslrootcert={}: no certificate in it", file.unwrap_or("system")));
    }
    Ok(roots)
}

/// rustls's own verifier, less what the mode does not ask for.
#[derive(Debug)]
struct Verifier {
    check: Check,
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.check == Check::Authority => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
