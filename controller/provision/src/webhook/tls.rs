//! TLS to a receiver: whose signature its certificate must bear, which name it must be for, and who the controller is.
//!
//! The intuition: certificates are renewed while a controller runs, often daily, so files are read for each connection, of which
//! there is one per call; a file that was half written then costs one try. They are read at the start too, so that a
//! wrong one is told before anything depends on it.
//!
//! Every mistake has two ends, and only this one reads our log: what rustls says of the other's certificate is told with
//! what to do about it ([`remedy`]).
//!
//! What it deliberately does not do: revocation lists; a receiver that is trusted no longer is answered with another secret or
//! another authority.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, AlertDescription, CertificateError, ClientConfig, RootCertStore};

use crate::call::causes;

/// What is asked of a receiver's certificate, and what is shown to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Certificates of the authorities that may have signed the receiver's, PEM; this machine's where there is no file.
    pub ca_file: Option<PathBuf>,
    /// Name that the receiver's certificate must be for; the URL's host where nothing is said.
    pub server_name: Option<String>,
    /// Shown to a receiver that asks who the controller is.
    pub client: Option<ClientFiles>,
}

/// Who the controller is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// Certificate and those between it and its authority, PEM.
    pub certificate_file: PathBuf,
    /// Its private key, PEM.
    pub key_file: PathBuf,
}

/// Why there can be no TLS as it is configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, or not what it should be.
    #[error("{}: {detail}; give {wanted}", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        detail: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// A certificate of no use with its key.
    #[error("{} with {}: {detail}; give a certificate and the private key that it was made for", .certificate.display(), .key.display())]
    Pair {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// What is wrong with them.
        detail: String,
    },
    /// Neither a name nor an address.
    #[error("server name {0:?} is no DNS name and no address; give the name that the receiver's certificate is for")]
    ServerName(String),
    /// The machine trusts nobody.
    #[error("this machine has no certificates of authorities{0}; give the receiver's authority with ca_file")]
    NoAuthorities(String),
    /// The library refuses.
    #[error("prepare TLS: {0}; report it with the configuration")]
    Library(String),
}

/// How connections to one receiver are secured.
pub(super) struct Tls {
    settings: TlsSettings,
    server_name: ServerName<'static>,
    provider: Arc<CryptoProvider>,
    /// This machine's authorities, where no file names others.
    machine: Option<RootCertStore>,
}

impl Tls {
    /// Reads everything once, to tell what is wrong.
    pub(super) fn new(settings: TlsSettings, host: &str) -> Result<Self, TlsError> {
        let name = settings.server_name.clone().unwrap_or_else(|| host.to_owned());
        let server_name = ServerName::try_from(name.clone()).map_err(|_| TlsError::ServerName(name))?;
        let machine = if settings.ca_file.is_none() { Some(of_machine()?) } else { None };
        let tls = Self { settings, server_name, provider: Arc::new(default_provider()), machine };
        tls.connector()?;
        Ok(tls)
    }

    /// With what the files hold now.
    pub(super) fn connector(&self) -> Result<TlsConnector, TlsError> {
        let authorities = match (&self.settings.ca_file, &self.machine) {
            (Some(file), _) => of_file(file)?,
            (None, machine) => machine.clone().unwrap_or_else(RootCertStore::empty),
        };
        let library = |error: rustls::Error| TlsError::Library(error.to_string());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(library)?
            .with_root_certificates(authorities);
        let mut config = match &self.settings.client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let certificates = certificates(&client.certificate_file, CLIENT_CERTIFICATE)?;
                let key = PrivateKeyDer::from_pem_file(&client.key_file)
                    .map_err(|error| unusable(&client.key_file, &error, CLIENT_KEY))?;
                let pair = |error: rustls::Error| TlsError::Pair {
                    certificate: client.certificate_file.clone(),
                    key: client.key_file.clone(),
                    detail: error.to_string(),
                };
                builder.with_client_auth_cert(certificates, key).map_err(pair)?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }

    /// Shakes hands; the receiver is who it should be when this goes well.
    pub(super) async fn secure(&self, connector: &TlsConnector, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        connector.connect(self.server_name.clone(), stream).await
    }
}

const AUTHORITIES: &str = "the PEM certificates of the authorities that sign the receiver's";
const CLIENT_CERTIFICATE: &str = "the controller's PEM certificate, followed by those between it and its authority";
const CLIENT_KEY: &str = "the PEM private key of the controller's certificate, without a passphrase";

fn unusable(file: &Path, error: &(dyn Error + 'static), wanted: &'static str) -> TlsError {
    TlsError::File { file: file.to_owned(), detail: causes(error), wanted }
}

fn certificates(file: &Path, wanted: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| unusable(file, &error, wanted))?;
    if read.is_empty() {
        return Err(TlsError::File { file: file.to_owned(), detail: "it holds no certificate".to_owned(), wanted });
    }
    Ok(read)
}

fn of_file(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(file, AUTHORITIES)? {
        authorities.add(certificate).map_err(|error| unusable(file, &error, AUTHORITIES))?;
    }
    Ok(authorities)
}

fn of_machine() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut authorities = RootCertStore::empty();
    let (added, _) = authorities.add_parsable_certificates(found.certs);
    if added == 0 {
        let why: String = found.errors.iter().map(|error| format!(": {error}")).collect();
        return Err(TlsError::NoAuthorities(why));
    }
    Ok(authorities)
}

/// What to do about a connection that TLS ended; nothing where something else did, or where waiting may help.
pub(super) fn remedy(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let carried = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
        let carried = carried.and_then(|error| error.downcast_ref::<rustls::Error>());
        if let Some(error) = carried.or_else(|| error.downcast_ref::<rustls::Error>()) {
            return of_tls(error);
        }
        cause = error.source();
    }
    None
}

fn of_tls(error: &rustls::Error) -> Option<&'static str> {
    use CertificateError as Certificate;
    Some(match error {
        rustls::Error::InvalidCertificate(Certificate::UnknownIssuer) => {
            "give tls.ca_file the authority that signed the receiver's certificate"
        }
        rustls::Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => "give tls.server_name one of the names that the receiver's certificate is for",
        rustls::Error::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            "renew the receiver's certificate, or set this machine's clock"
        }
        rustls::Error::InvalidCertificate(Certificate::NotValidYet | Certificate::NotValidYetContext { .. }) => {
            "set this machine's clock, or the receiver's when it issues certificates"
        }
        rustls::Error::InvalidCertificate(_) => {
            "give the receiver a certificate of its own, for servers, signed by an authority"
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure) => {
            "if the receiver asks who the controller is, give tls.certificate_file and tls.key_file"
        }
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::AccessDenied,
        ) => {
            "the receiver does not accept tls.certificate_file: give one that its authority signed and that has not expired"
        }
        rustls::Error::InvalidMessage(_) => "the receiver does not speak TLS at this port; give its HTTPS port",
        _ => return None,
    })
}
