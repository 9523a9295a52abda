//! What the parts of `up` see of the shell that started it: only what is named here. Clients and servers of Postgres take their
//! defaults from `PG*`, the loader of programs from `LD_PRELOAD`, so a private stack that inherited everything would not be private.
use std::ffi::{OsStr, OsString};

use super::{plan::Class, process::Launch};

/// Where programs are when the shell does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Every part: where programs and libraries are (CUDA is often found by `LD_LIBRARY_PATH`).
const EVERY: &[&str] = &["PATH", "LD_LIBRARY_PATH"];
/// Programs of Tidegate: their user, where certificates are, and what a panic shows.
const OURS: &[&str] = &[
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "TZ",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
];
/// Beginnings of the names that OpenTelemetry's SDK defines: headers, attributes of the resource.
const TELEMETRY: &[&str] = &["OTEL_"];
/// Beginnings of names that tell devices and libraries of inference how to work, and the settings of the worker itself.
const INFERENCE: &[&str] = &[
    "TIDEGATE_WORKER_",
    "CUDA_",
    "NVIDIA_",
    "NCCL_",
    "CUBLAS_",
    "CUDNN_",
    "ORT_",
    "OMP_",
    "KMP_",
    "GOMP_",
    "MKL_",
    "OPENBLAS_",
];
/// What libpq and sqlx read; see [`Launch::operators_database`].
const POSTGRES: &[&str] = &["PG"];

/// Names and values for `launch`, out of `shell`. Each part runs in the locale C: what one writes another reads.
pub fn of(launch: &Launch, shell: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let mut seen: Vec<_> = shell.filter(|(name, _)| passes(launch, name)).collect();
    if !seen.iter().any(|(name, _)| name == "PATH") {
        seen.push(("PATH".into(), PATH.into()));
    }
    seen.push(("LC_ALL".into(), "C".into()));
    seen.extend(launch.env.iter().map(|(name, value)| (name.into(), value.into())));
    seen
}

fn passes(launch: &Launch, name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let begins = |with: &[&str]| with.iter().any(|start| name.starts_with(start));
    // `--worker-bin` and `--worker-provider` are settings of `up`, not of the worker.
    let ours = crate::config::FIELDS.iter().any(|field| field.env() == name);
    EVERY.contains(&name)
        || match launch.class {
            Class::Database | Class::Gateway => false,
            Class::Serve => {
                OURS.contains(&name) || begins(TELEMETRY) || (launch.operators_database && begins(POSTGRES))
            }
            Class::Worker => OURS.contains(&name) || begins(TELEMETRY) || (begins(INFERENCE) && !ours),
        }
}

#[cfg(test)]
mod tests {
    //! Which variables reach which part.
    use super::*;

    fn launch(class: Class) -> Launch {
        Launch {
            program: "p".into(),
            args: Vec::new(),
            env: vec![("LD_LIBRARY_PATH".to_owned(), "/own".to_owned())],
            user: None,
            operators_database: false,
            class,
        }
    }

    fn seen(launch: &Launch, names: &[&str]) -> Vec<String> {
        let shell = names.iter().map(|name| (OsString::from(name), OsString::from("x")));
        of(launch, shell).into_iter().map(|(name, _)| name.into_string().unwrap()).collect()
    }

    #[test]
    fn nothing_of_the_shell_reaches_a_part_that_does_not_need_it() {
        let hostile = [
            "PGPORT",
            "PGHOST",
            "PGHOSTADDR",
            "PGOPTIONS",
            "PGSSLMODE",
            "PGDATA",
            "PGPASSFILE",
            "PGSERVICE",
            "PGTZ",
            "LD_PRELOAD",
            "LD_AUDIT",
            "LC_ALL",
            "LC_MESSAGES",
            "LANG",
            "http_proxy",
            "ALL_PROXY",
            "TIDEGATE_PORT",
            "TIDEGATE_DATABASE_URL",
            "TIDEGATE_WORKER_BIN",
            "TIDEGATE_WORKER_PROVIDER",
            "NOTIFY_SOCKET",
            "LISTEN_FDS",
            "MALLOC_PERTURB_",
            "AWS_SECRET_ACCESS_KEY",
        ];
        for class in [Class::Database, Class::Gateway, Class::Serve, Class::Worker] {
            let fixed = ["PATH", "LC_ALL", "LD_LIBRARY_PATH"];
            assert_eq!(seen(&launch(class), &hostile), fixed, "{class:?}");
        }
        let theirs = Launch { operators_database: true, ..launch(Class::Serve) };
        let passed = seen(&theirs, &hostile);
        assert!(passed.iter().any(|n| n == "PGSSLMODE") && !passed.iter().any(|n| n == "LD_PRELOAD"), "{passed:?}");
    }

    #[test]
    fn what_a_part_needs_reaches_it() {
        let names = ["HOME", "OTEL_RESOURCE_ATTRIBUTES", "CUDA_VISIBLE_DEVICES", "TIDEGATE_WORKER_PREPACKING", "PATH"];
        let has = |class, name: &str| seen(&launch(class), &names).iter().any(|n| n == name);
        assert!(has(Class::Worker, "CUDA_VISIBLE_DEVICES") && has(Class::Worker, "TIDEGATE_WORKER_PREPACKING"));
        assert!(has(Class::Serve, "HOME") && has(Class::Serve, "OTEL_RESOURCE_ATTRIBUTES"));
        assert!(!has(Class::Serve, "CUDA_VISIBLE_DEVICES") && !has(Class::Database, "HOME"));
        assert_eq!(of(&launch(Class::Gateway), std::iter::empty())[0], ("PATH".into(), PATH.into()));
    }
}
