//! TLS to the receiver: who is believed, who is shown what, and what is said when it is wrong. The certificates are made by
//! `tests/tls/make.sh`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, ensure};
use forebay_plan::capacity::{Generation, Target};
use forebay_provision::{ClientFiles, InstanceManager, Order, ProvisionError, TlsSettings, Webhook, WebhookSettings};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::TLS12;
use tokio_rustls::rustls::{ALL_VERSIONS, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::receiver::{Receiver, locked};
use super::{NOW_S, settings};
use crate::subject::steady;

fn file(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls")).join(name)
}

/// What a receiver shows, and what it asks for.
struct Shown {
    certificate: &'static str,
    asks_who: bool,
    versions: &'static [&'static SupportedProtocolVersion],
}

const USUAL: Shown = Shown { certificate: "receiver", asks_who: false, versions: ALL_VERSIONS };

const ONLY_TLS12: &[&SupportedProtocolVersion] = &[&TLS12];

async fn receiver(shown: Shown) -> Result<Receiver> {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(shown.versions)?;
    let builder = if shown.asks_who {
        let mut authorities = RootCertStore::empty();
        authorities.add(CertificateDer::from_pem_file(file("authority.pem"))?)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider).build()?;
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let certificate = CertificateDer::from_pem_file(file(&format!("{}.pem", shown.certificate)))?;
    let key = PrivateKeyDer::from_pem_file(file(&format!("{}.key", shown.certificate)))?;
    Receiver::start_secured(NOW_S, builder.with_single_cert(vec![certificate], key)?).await
}

fn trusting(authority: &str) -> TlsSettings {
    let server_name = Some("receiver.test".to_owned());
    TlsSettings { ca_file: Some(file(authority)), server_name, client: None }
}

fn own(name: &str) -> Option<ClientFiles> {
    let part = |ending| file(&format!("{name}.{ending}"));
    Some(ClientFiles { certificate_file: part("pem"), key_file: part("key") })
}

fn secured(receiver: &Receiver, tls: TlsSettings) -> Result<Webhook> {
    let url = format!("https://{}", receiver.address);
    Ok(Webhook::new(WebhookSettings { url, tls, ..settings(receiver) }, || NOW_S)?)
}

#[tokio::test]
async fn orders_go_over_tls_to_whom_the_authority_vouches_for() -> Result<()> {
    let receiver = receiver(USUAL).await?;
    let order = Order {
        generation: Generation { epoch: 1, sequence: 1 },
        targets: vec![Target { group: steady(), count: 2 }],
        ..Order::default()
    };
    let manager = secured(&receiver, trusting("authority.pem"))?;
    ensure!(manager.apply(&order).await?.started == 2);
    ensure!(manager.observe().await?.generation == Some(order.generation));
    // The certificate is for the address too.
    let by_address = TlsSettings { server_name: None, ..trusting("authority.pem") };
    ensure!(secured(&receiver, by_address)?.observe().await.is_ok());
    Ok(())
}

#[tokio::test]
async fn nothing_is_said_to_whom_nobody_vouches_for() -> Result<()> {
    let named = |name: &str| TlsSettings { server_name: Some(name.to_owned()), ..trusting("authority.pem") };
    let expired = Shown { certificate: "expired", ..USUAL };
    for (shown, tls, remedy) in [
        (USUAL, trusting("stranger.pem"), "give tls.ca_file the authority"),
        (USUAL, named("other.test"), "give tls.server_name one of the names"),
        (expired, trusting("authority.pem"), "renew the receiver's certificate"),
    ] {
        let receiver = receiver(shown).await?;
        let refused = secured(&receiver, tls)?.observe().await;
        let Err(ProvisionError::Unreachable { detail, .. }) = refused else { anyhow::bail!("{remedy}: {refused:?}") };
        ensure!(detail.contains(remedy) && detail.contains(&receiver.address.to_string()), "{remedy}: {detail}");
        ensure!(locked(&receiver.state).received == 0);
    }
    // A receiver without TLS is told nothing either.
    let plain = Receiver::start(NOW_S).await?;
    let refused = secured(&plain, trusting("authority.pem"))?.observe().await;
    let Err(ProvisionError::Unreachable { detail, .. }) = refused else { anyhow::bail!("{refused:?}") };
    ensure!(detail.contains("does not speak TLS at this port"), "{detail}");
    Ok(())
}

#[tokio::test]
async fn a_receiver_that_asks_who_calls_is_shown_it() -> Result<()> {
    for versions in [ALL_VERSIONS, ONLY_TLS12] {
        let receiver = receiver(Shown { asks_who: true, versions, ..USUAL }).await?;
        let nobody = secured(&receiver, trusting("authority.pem"))?.observe().await;
        let Err(ProvisionError::Unreachable { detail, .. }) = nobody else { anyhow::bail!("{nobody:?}") };
        // With TLS 1.3 the handshake is over before the receiver refuses, and what is read of that is up to the network.
        ensure!(versions.len() > 1 || detail.contains("give tls.certificate_file"), "{detail}");
        ensure!(locked(&receiver.state).received == 0);
        let known = TlsSettings { client: own("controller"), ..trusting("authority.pem") };
        ensure!(secured(&receiver, known)?.observe().await.is_ok());
    }
    Ok(())
}

#[tokio::test]
async fn renewed_files_count_without_a_restart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = folder.path().join("ca.pem");
    std::fs::copy(file("stranger.pem"), &authority)?;
    let receiver = receiver(USUAL).await?;
    let manager = secured(&receiver, TlsSettings { ca_file: Some(authority.clone()), ..trusting("authority.pem") })?;
    ensure!(manager.observe().await.is_err());
    std::fs::write(&authority, "half written")?;
    let refused = manager.observe().await.err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(refused.contains("ca.pem: it holds no certificate; give the PEM"), "{refused}");
    std::fs::copy(file("authority.pem"), &authority)?;
    ensure!(manager.observe().await.is_ok());
    Ok(())
}

#[test]
fn files_that_are_of_no_use_are_named_with_what_they_should_be() {
    let refused = |tls: TlsSettings| {
        let url = "https://capacity.example".to_owned();
        let webhook = WebhookSettings { url, tls, secret: super::secret(), retries: Default::default(), seed: 0 };
        Webhook::new(webhook, || NOW_S).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let with = |client: ClientFiles| TlsSettings { client: Some(client), ..trusting("authority.pem") };
    let pair =
        |certificate: &str, key: &str| with(ClientFiles { certificate_file: file(certificate), key_file: file(key) });
    assert_eq!(refused(trusting("authority.pem")), "");
    assert_eq!(refused(pair("controller.pem", "controller.key")), "");
    for (tls, parts) in [
        (trusting("nowhere.pem"), ["nowhere.pem: ", "give the PEM certificates of the authorities"]),
        (trusting("receiver.key"), ["receiver.key: it holds no certificate", "give the PEM certificates"]),
        (pair("controller.key", "controller.key"), ["controller.key: it holds no", "give the controller's PEM"]),
        (pair("controller.pem", "nowhere.key"), ["nowhere.key: ", "give the PEM private key"]),
        (pair("controller.pem", "controller.pem"), ["controller.pem: ", "give the PEM private key"]),
        (pair("controller.pem", "receiver.key"), ["controller.pem with ", "give a certificate and the private key"]),
        (
            TlsSettings { server_name: Some("no name".to_owned()), ..trusting("authority.pem") },
            ["\"no name\"", "give the name that"],
        ),
    ] {
        let text = refused(tls);
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }
}
