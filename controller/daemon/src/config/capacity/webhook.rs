//! `capacity.manager.webhook`: who keeps the instances elsewhere, and how it is spoken to.

use std::path::PathBuf;

use forebay_provision::{ClientFiles, Retries, Secret, TlsSettings, Webhook, WebhookSettings};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::file::{Problem, problem};

const AT: &str = "capacity.manager.webhook";

/// Whom orders are said to.
#[derive(Clone, Debug)]
pub(crate) struct ReceiverSettings {
    url: String,
    /// Signs what is said.
    secret: Secret,
    tls: TlsSettings,
}

impl ReceiverSettings {
    /// What the manager is told; `seed` is another for every start.
    pub(crate) fn with_seed(self, seed: u64) -> WebhookSettings {
        WebhookSettings { url: self.url, secret: self.secret, tls: self.tls, retries: Retries::default(), seed }
    }
}

/// A receiver that speaks `controller/provision/openapi.yaml`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookPart {
    /// Where the receiver is: `https://` and a host, or `http://` and a loopback address.
    url: String,
    /// File of at least 32 random bytes that the receiver knows, too; it signs what is said. A file, so that the configuration
    /// can be shown to anybody.
    secret_file: PathBuf,
    /// How the receiver is known, and how the controller is known to it.
    #[serde(default)]
    tls: TlsPart,
}

/// How both sides are known. Files are read again for each call.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct TlsPart {
    /// PEM file of the authorities that sign the receiver's certificate. Without it, those that this machine trusts.
    ca_file: Option<PathBuf>,
    /// Name that the receiver's certificate must be for. Without it, the host of `url`.
    server_name: Option<String>,
    /// PEM file of the controller's own certificate. Without it, it shows none.
    certificate_file: Option<PathBuf>,
    /// PEM file of that certificate's key.
    key_file: Option<PathBuf>,
}

impl WebhookPart {
    pub(super) fn check(self) -> Result<ReceiverSettings, Problem> {
        let at = || format!("{AT}.secret_file");
        let remedy = "give a file with at least 32 random bytes, as of head -c 32 /dev/urandom";
        let read = std::fs::read(&self.secret_file);
        let bytes = read.map_err(|error| problem(at(), format!("{}: {error}", self.secret_file.display()), remedy))?;
        let secret = Secret::new(bytes).map_err(|error| problem(at(), error.to_string(), remedy))?;
        let receiver = ReceiverSettings { url: self.url, secret, tls: self.tls.check()? };
        // What cannot be spoken is said when the file is checked, not first when the daemon starts.
        match Webhook::new(receiver.clone().with_seed(0), || 0) {
            Ok(_) => Ok(receiver),
            Err(error) => {
                let text = error.to_string();
                // Errors of managers end in their remedy.
                let (reason, remedy) =
                    text.rsplit_once("; ").unwrap_or((&text, "see openapi.yaml of forebay-provision"));
                Err(problem(AT, reason, remedy))
            }
        }
    }
}

impl TlsPart {
    fn check(self) -> Result<TlsSettings, Problem> {
        let client = match (self.certificate_file, self.key_file) {
            (Some(certificate_file), Some(key_file)) => Some(ClientFiles { certificate_file, key_file }),
            (None, None) => None,
            _ => {
                let reason = "one of certificate_file and key_file is there without the other";
                return Err(problem(format!("{AT}.tls"), reason, "give both, or neither"));
            }
        };
        Ok(TlsSettings { ca_file: self.ca_file, server_name: self.server_name, client })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    fn read(folder: &Path, webhook: &str) -> Result<(), String> {
        std::fs::write(folder.join("secret"), [7; 32]).unwrap();
        std::fs::write(folder.join("empty.pem"), "").unwrap();
        let text = format!(
            "capacity:
  manager: {{ webhook: {{ secret_file: {0}/secret, {1} }} }}
  shapes: [ {{ name: Small, offers: {{ cpu: 2 }}, price_per_h: 1 }} ]
  pools: [ {{ name: a, location: eu, max_instances: 9, lead_s: 30 }} ]
  services: [ {{ name: shop, need_per_unit: {{ cpu: 1 }}, shortage_per_unit_h: 1 }} ]
",
            folder.display(),
            webhook.replace("FOLDER", &folder.display().to_string()),
        );
        Config::parse(Path::new("forebay.yaml"), &text).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn a_receiver_is_on_this_machine_or_behind_tls() {
        let folder = tempfile::tempdir().unwrap();
        let authority = concat!(env!("CARGO_MANIFEST_DIR"), "/../provision/tests/tls/authority.pem");
        assert_eq!(read(folder.path(), "url: http://127.0.0.1:9"), Ok(()));
        let tls = format!("url: https://capacity.example/v, tls: {{ ca_file: {authority}, server_name: a.example }}");
        assert_eq!(read(folder.path(), &tls), Ok(()));
        for (webhook, parts) in [
            ("url: http://192.0.2.1:80", ["not this machine", "give https://HOST"]),
            ("url: http://127.0.0.1:9, tls: { ca_file: x }", ["not over TLS", "write https://"]),
            ("url: https://a, tls: { ca_file: FOLDER/none.pem }", ["none.pem: ", "give the PEM certificates"]),
            ("url: https://a, tls: { ca_file: FOLDER/empty.pem }", ["empty.pem: it holds no", "give the PEM"]),
            ("url: https://a, tls: { key_file: x }", ["capacity.manager.webhook.tls: ", "give both"]),
            ("url: https://a, tls: { authority: x }", ["forebay.yaml:2", "authority"]),
        ] {
            let refused = read(folder.path(), webhook).expect_err(webhook);
            for part in parts {
                assert!(refused.contains(part), "{webhook}: {part:?} is not in {refused:?}");
            }
        }
    }
}
