//! Certificates from another issuer, read from a folder: a mounted Secret of cert-manager, for instance.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::health::Health;
use crate::webhook::PART;
use crate::webhook::tls::resolver::CertResolver;

/// Interval at which the files are read.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Serves `tls.crt` and `tls.key` of a folder, and reloads them when they change. Runs until the process exits.
pub(crate) async fn follow(folder: PathBuf, resolver: Arc<CertResolver>, health: Arc<Health>) {
    let mut served: Option<(Vec<u8>, Vec<u8>)> = None;
    let mut last_error = String::new();
    loop {
        let read = read(&folder).await;
        let outcome = match read {
            Ok(files) if served.as_ref() == Some(&files) => Ok(()),
            Ok((certificate, key)) => match resolver.set(&certificate, &key) {
                Ok(()) => {
                    info!(folder = %folder.display(), "webhook: loaded a new certificate");
                    served = Some((certificate, key));
                    Ok(())
                }
                Err(error) => Err(format!("{}: {error}", folder.display())),
            },
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {
                last_error.clear();
                health.set_missing(PART, None);
            }
            Err(error) => {
                if last_error != error {
                    warn!("webhook: {error}");
                }
                if served.is_none() {
                    health.set_missing(PART, Some(format!("the webhook has no certificate: {error}")));
                }
                last_error = error;
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Reads the certificate and the key.
async fn read(folder: &Path) -> Result<(Vec<u8>, Vec<u8>), String> {
    let folder = folder.to_owned();
    let read = move || {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        Ok((read("tls.crt")?, read("tls.key")?))
    };
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|error| Err(error.to_string()))
}
