//! Every address that can be listened on works: IPv4 and IPv6, one address and all. A whole stack per family, asked through its
//! gateway; what is not possible is refused with its reason.
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    process::Stdio,
};

use anyhow::{Result, ensure};
use system_tests::{
    client::Client,
    documents::PATIENCE,
    ports,
    tidegate::{Place, Said, Tidegate},
    tools, wait,
};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const ALL_V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ALL_V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// A stack at these addresses answers a chat at each of `ask`, and at none of `not`.
async fn serves_at([admin, grpc, gateway]: [IpAddr; 3], ask: &[IpAddr], not: &[IpAddr]) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("tidegate-").tempdir()?;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
    let on = |ip: IpAddr| Ok::<_, anyhow::Error>(SocketAddr::new(ip, ports::free()?.port()));
    let (data, scratch) = (dir.path().join("data"), dir.path().to_owned());
    let place = Place { data, scratch, admin: on(admin)?, grpc: on(grpc)?, gateway: on(gateway)? };
    let tidegate = Tidegate::start_at(place.clone()).await?;
    tidegate.ok(&["apply", "-f", &tools::examples()]).await?;
    let (_, made) = tidegate.admin("POST", "/api/v1/api-keys", Some(r#"{"tenant":"acme"}"#.to_owned())).await?;
    for ip in ask {
        let at = SocketAddr::new(*ip, place.gateway.port());
        let client = Client::new(format!("http://{at}"), made["key"].as_str().map(str::to_owned))?;
        wait::until(&format!("an answer at {at}"), PATIENCE, async || {
            client.chat("What is assert?", &[("x-user-id", "nobody")]).await?.expect(200).map(|_| ())
        })
        .await?;
    }
    for ip in not {
        let at = SocketAddr::new(*ip, place.gateway.port());
        ensure!(tokio::net::TcpStream::connect(at).await.is_err(), "somebody listens at {at}");
    }
    let left = tidegate.stop().await?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_on_ipv4_answers_at_every_address_of_ipv4() -> Result<()> {
    serves_at([V4, V4, ALL_V4], &[V4], &[V6]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_on_ipv6_answers_at_every_address_of_both_families() -> Result<()> {
    if TcpListener::bind((V6, 0)).is_err() {
        println!("IPv6 is off on this machine: only that it is refused is looked at");
        let said = checked(&["up", "--admin-listen", "[::1]:1"]).await?;
        ensure!(said.err.contains("TG-1540"), "{said:?}");
        return Ok(());
    }
    serves_at([V6, V6, ALL_V6], &[V6, V4], &[]).await?;
    serves_at([V4, V6, V6], &[V6], &[V4]).await
}

async fn checked(args: &[&str]) -> Result<Said> {
    let dir = tempfile::tempdir()?;
    let mut command = tokio::process::Command::new(tools::program("tidegate")?);
    command.args(args).current_dir(dir.path()).stdin(Stdio::null()).kill_on_drop(true);
    Ok(Said::from(command.output().await?))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_not_possible_is_refused_with_its_reason() -> Result<()> {
    for ip in [V4, V6, ALL_V4, ALL_V6] {
        for (setting, allowed) in [("admin", ip.is_loopback()), ("grpc", ip.is_loopback()), ("gateway", true)] {
            let at = SocketAddr::new(ip, 2000).to_string();
            let said = checked(&["check-config", &format!("--{setting}-listen"), &at]).await?;
            let refused = said.out.contains(&format!("TG-1504 flag --{setting}-listen"));
            ensure!(refused != allowed && (said.status == Some(0)) == allowed, "--{setting}-listen {at}: {said:?}");
        }
        let at = SocketAddr::new(ip, 2000).to_string();
        let said = checked(&["check-config", "--require-api-key=false", "--gateway-listen", &at]).await?;
        ensure!((said.status == Some(0)) == ip.is_loopback(), "without keys at {at}: {said:?}");
    }
    Ok(())
}
