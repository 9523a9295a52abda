//! Whether the certificate of the admin API can serve: what every TLS client would refuse is refused here, before anything
//! starts. Pure: texts in, a problem out.
use std::{sync::Arc, time::Duration};

use rustls::{
    CertificateError, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    sign::CertifiedKey,
};

use super::TlsFiles;

/// A command that makes one that serves.
const REMEDY: &str = "make one with `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj \
                      /CN=tidegate -keyout key.pem -out cert.pem -addext basicConstraints=critical,CA:FALSE -addext \
                      subjectAltName=IP:127.0.0.1,DNS:localhost`";

/// The setting that is wrong and what is wrong with it, of the texts of the two files.
pub(super) fn problem(
    files: &TlsFiles,
    (certificates, private): (&str, &str),
    now: Duration,
) -> Option<(&'static str, String)> {
    let (cert, key) = ("admin_tls_cert_file", "admin_tls_key_file");
    let shown = (files.cert.display(), files.key.display());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates.as_bytes()).collect();
    let chain = match chain {
        Ok(chain) if !chain.is_empty() => chain,
        Ok(_) => return Some((cert, format!("{} holds no certificate in PEM form", shown.0))),
        Err(error) => return Some((cert, format!("{} is not a certificate in PEM form: {error}", shown.0))),
    };
    let Ok(private) = PrivateKeyDer::from_pem_slice(private.as_bytes()) else {
        return Some((key, format!("{} holds no private key in PEM form, or one with a password", shown.1)));
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let signer = match provider.key_provider.load_private_key(private) {
        Ok(signer) => signer,
        Err(error) => return Some((key, format!("the key in {} cannot be used: {error}", shown.1))),
    };
    if CertifiedKey::new(chain.clone(), signer).keys_match().is_err() {
        return Some((key, format!("{} is not the key of the certificate in {}", shown.1, shown.0)));
    }
    refusal(&chain, provider, now).map(|why| (cert, format!("the certificate in {} {why}", shown.0)))
}

/// What a client that trusts all of `chain` has against the first of it. Names and unknown authorities are the clients' affair.
fn refusal(
    chain: &[CertificateDer<'static>],
    provider: Arc<rustls::crypto::CryptoProvider>,
    now: Duration,
) -> Option<String> {
    let (server, others) = chain.split_first()?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(chain.iter().cloned());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
    let name = ServerName::try_from("localhost").ok()?;
    let now = UnixTime::since_unix_epoch(now);
    let error = verifier.verify_server_cert(server, others, &name, &[], now).err()?;
    let rustls::Error::InvalidCertificate(error) = error else {
        return Some(format!("cannot be used: {error}"));
    };
    match error {
        CertificateError::UnknownIssuer
        | CertificateError::NotValidForName
        | CertificateError::NotValidForNameContext { .. } => None,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Some("has expired".to_owned()),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Some("is not valid yet; look at the clock of this machine".to_owned())
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Some(format!("is not one for a server (extended key usage); {REMEDY}"))
        }
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            Some(format!("is one of an authority (CA:TRUE), which clients refuse as a server's; {REMEDY}"))
        }
        other => Some(format!("is refused by clients: {other}")),
    }
}

#[cfg(test)]
mod tests {
    //! Certificates as people make them.
    use super::*;

    fn at(year: i32) -> Duration {
        use chrono::TimeZone as _;
        Duration::from_secs(
            u64::try_from(chrono::Utc.with_ymd_and_hms(year, 6, 1, 0, 0, 0).unwrap().timestamp()).unwrap(),
        )
    }

    fn made(change: impl FnOnce(&mut rcgen::CertificateParams)) -> (String, String) {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2028, 1, 1);
        change(&mut params);
        let key = rcgen::KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn what_no_client_would_take_is_refused_with_the_reason() {
        let files = TlsFiles { cert: "cert.pem".into(), key: "key.pem".into() };
        let good = made(|_| {});
        let authority = made(|p| p.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
        let client = made(|p| p.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth]);
        let elsewhere = made(|p| p.subject_alt_names = vec![rcgen::SanType::DnsName("a.example".try_into().unwrap())]);
        let both = format!("{}{}", good.0, good.1);
        for (n, (cert, key, year, said)) in [
            (&good.0, &good.1, 2027, None),
            (&elsewhere.0, &elsewhere.1, 2027, None),
            (&both, &both, 2027, None),
            (&good.0, &good.1, 2030, Some(("admin_tls_cert_file", "has expired"))),
            (&good.0, &good.1, 2020, Some(("admin_tls_cert_file", "not valid yet"))),
            (&authority.0, &authority.1, 2027, Some(("admin_tls_cert_file", "CA:FALSE"))),
            (&client.0, &client.1, 2027, Some(("admin_tls_cert_file", "not one for a server"))),
            (&good.0, &authority.1, 2027, Some(("admin_tls_key_file", "is not the key of"))),
            (&good.0, &good.0, 2027, Some(("admin_tls_key_file", "no private key"))),
            (&good.1, &good.1, 2027, Some(("admin_tls_cert_file", "no certificate"))),
            (&"text".to_owned(), &good.1, 2027, Some(("admin_tls_cert_file", "no certificate"))),
        ]
        .into_iter()
        .enumerate()
        {
            let found = problem(&files, (cert, key), at(year));
            match (&found, said) {
                (None, None) => {}
                (Some((key, message)), Some((want, word))) => {
                    assert!(*key == want && message.contains(word), "{n}: {found:?}");
                }
                other => panic!("{n}: {other:?}"),
            }
        }
    }
}
