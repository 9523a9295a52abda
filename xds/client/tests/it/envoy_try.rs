//! Experiment: real Envoy, cluster add/remove and route flips under requests.
use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{
                Cluster,
                cluster::{self, EdsClusterConfig},
            },
            core::v3::{
                Address, AggregatedConfigSource, ConfigSource, SocketAddress, address, config_source, socket_address,
            },
            endpoint::v3::{ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint},
            listener::v3::{Filter, FilterChain, Listener, filter},
            route::v3::{
                Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route, route_action, route_match,
            },
        },
        extensions::filters::{
            http::router::v3::Router,
            network::http_connection_manager::v3::{
                HttpConnectionManager, HttpFilter, Rds, http_connection_manager, http_filter,
            },
        },
    },
    google::protobuf::Any,
};
use prost::Message;
use tidegate_xds::{ResourceSet, types};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::harness::{Server, eventually};

fn any<M: Message + prost::Name>(m: &M) -> Any {
    Any { type_url: M::type_url(), value: m.encode_to_vec() }
}
fn addr(port: u16) -> Option<Address> {
    Some(Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: "127.0.0.1".into(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(port.into())),
            ..Default::default()
        })),
    })
}
fn ads() -> Option<ConfigSource> {
    Some(ConfigSource {
        resource_api_version: 2,
        config_source_specifier: Some(config_source::ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..Default::default()
    })
}
fn cluster(name: &str) -> Vec<u8> {
    Cluster {
        name: name.into(),
        connect_timeout: Some(envoy_types::pb::google::protobuf::Duration { seconds: 1, nanos: 0 }),
        eds_cluster_config: Some(EdsClusterConfig { eds_config: ads(), ..Default::default() }),
        cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(cluster::DiscoveryType::Eds.into())),
        ..Default::default()
    }
    .encode_to_vec()
}
fn cla(name: &str, port: u16) -> Vec<u8> {
    ClusterLoadAssignment {
        cluster_name: name.into(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: vec![LbEndpoint {
                host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(Endpoint {
                    address: addr(port),
                    ..Default::default()
                })),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
    .encode_to_vec()
}
fn routes(cluster: &str) -> Vec<u8> {
    let action = RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(cluster.into())),
        ..Default::default()
    };
    let route = Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(route_match::PathSpecifier::Prefix("/".into())),
            ..Default::default()
        }),
        action: Some(route::Action::Route(action)),
        ..Default::default()
    };
    RouteConfiguration {
        name: "r".into(),
        virtual_hosts: vec![VirtualHost {
            name: "v".into(),
            domains: vec!["*".into()],
            routes: vec![route],
            ..Default::default()
        }],
        ..Default::default()
    }
    .encode_to_vec()
}
fn listener(port: u16) -> Vec<u8> {
    let hcm = HttpConnectionManager {
        stat_prefix: "x".into(),
        route_specifier: Some(http_connection_manager::RouteSpecifier::Rds(Rds {
            config_source: ads(),
            route_config_name: "r".into(),
        })),
        http_filters: vec![HttpFilter {
            name: "router".into(),
            config_type: Some(http_filter::ConfigType::TypedConfig(any(&Router::default()))),
            ..Default::default()
        }],
        ..Default::default()
    };
    Listener {
        name: "l".into(),
        address: addr(port),
        filter_chains: vec![FilterChain {
            filters: vec![Filter { name: "hcm".into(), config_type: Some(filter::ConfigType::TypedConfig(any(&hcm))) }],
            ..Default::default()
        }],
        ..Default::default()
    }
    .encode_to_vec()
}
fn set(cluster_name: &str, port: u16, gateway: u16) -> BTreeMap<String, ResourceSet> {
    let mut set = ResourceSet::default();
    set.insert(types::CLUSTER, cluster_name, cluster(cluster_name));
    set.insert(types::CLUSTER, "stays", cluster("stays"));
    set.insert(types::ENDPOINT, cluster_name, cla(cluster_name, port));
    set.insert(types::ENDPOINT, "stays", cla("stays", port));
    set.insert(types::ROUTE, "r", routes(cluster_name));
    set.insert(types::LISTENER, "l", listener(gateway));
    BTreeMap::from([("gateway".into(), set)])
}
async fn backend() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut s, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut buf = [0; 4096];
                while let Ok(n) = s.read(&mut buf).await {
                    if n == 0 {
                        break;
                    }
                    let body = port.to_string();
                    let _ = s
                        .write_all(
                            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes(),
                        )
                        .await;
                }
            });
        }
    });
    port
}
async fn get(s: &mut TcpStream) -> (u16, String) {
    s.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut buf = vec![0; 4096];
    let n = s.read(&mut buf).await.unwrap();
    let text = String::from_utf8_lossy(&buf[..n]).to_string();
    let status = text.split(' ').nth(1).and_then(|x| x.parse().ok()).unwrap_or(0);
    (status, text.rsplit("\r\n").next().unwrap_or_default().to_owned())
}

async fn flip(api_type: &str) {
    let server = Server::start().await;
    let (a, b) = (backend().await, backend().await);
    let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    server.publish_sets(set("c0", a, gateway));
    let yaml = format!(
        r#"
node: {{id: gateway-0, cluster: x}}
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
dynamic_resources:
  ads_config: {{api_type: {api_type}, transport_api_version: V3, grpc_services: [{{envoy_grpc: {{cluster_name: ads}}, initial_metadata: [{{key: authorization, value: "Bearer tgn_gateway-0"}}]}}]}}
  cds_config: {{ads: {{}}, resource_api_version: V3}}
  lds_config: {{ads: {{}}, resource_api_version: V3}}
static_resources:
  clusters:
  - name: ads
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment: {{cluster_name: ads, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}]}}
"#,
        server.address.port()
    );
    let path = std::env::temp_dir().join(format!("envoy-{api_type}.yaml"));
    std::fs::write(&path, yaml).unwrap();
    let log = std::fs::File::create(format!("/tmp/envx/{api_type}.log")).unwrap();
    let mut envoy = Command::new("/tmp/envx/envoy/_bin/envoy")
        .args(["-c", path.to_str().unwrap(), "--use-dynamic-base-id", "--concurrency", "2", "-l", "warn"])
        .stdout(Stdio::null())
        .stderr(Stdio::from(log))
        .spawn()
        .unwrap();
    let started = Instant::now();
    let mut s = loop {
        if let Ok(s) = TcpStream::connect(("127.0.0.1", gateway)).await {
            break s;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(started.elapsed() < Duration::from_secs(20));
    };
    println!("{api_type}: listening after {:?}", started.elapsed());
    assert_eq!(get(&mut s).await, (200, a.to_string()));
    let (stop, bad, all) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (stop, bad, all) = (stop.clone(), bad.clone(), all.clone());
            tokio::spawn(async move {
                let mut s = TcpStream::connect(("127.0.0.1", gateway)).await.unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let (status, _) = get(&mut s).await;
                    all.fetch_add(1, Ordering::Relaxed);
                    if status != 200 {
                        bad.fetch_add(1, Ordering::Relaxed);
                        println!("status {status}");
                    }
                }
            })
        })
        .collect();
    let mut times = Vec::new();
    for n in 1..=100u32 {
        let port = if n % 2 == 0 { a } else { b };
        let t = Instant::now();
        server.publish_sets(set(&format!("c{n}"), port, gateway));
        while get(&mut s).await.1 != port.to_string() {
            assert!(t.elapsed() < Duration::from_secs(10), "never flipped {n}: {:#?}", server.nodes.list());
        }
        times.push(t.elapsed());
    }
    let generation = server.hub.borrow().group("gateway").seq();
    eventually("synced", || server.nodes.progress("gateway", generation).acked.len() == 1).await;
    eventually("two clusters left", || {
        server
            .nodes
            .get("gateway-0")
            .unwrap()
            .types
            .iter()
            .all(|t| t.state == "SYNCED" && (t.type_url != types::CLUSTER || t.resources == 2))
    })
    .await;
    // burst: publications without waiting
    for n in 101..=400u32 {
        server.publish_sets(set(&format!("c{n}"), if n % 2 == 0 { a } else { b }, gateway));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let generation = server.hub.borrow().group("gateway").seq();
    eventually("synced after burst", || server.nodes.progress("gateway", generation).acked.len() == 1).await;
    stop.store(true, Ordering::Relaxed);
    for l in load {
        l.await.unwrap();
    }
    times.sort();
    println!(
        "{api_type}: {} requests, {} not 200; publish->answer p50 {:?} p99 {:?}",
        all.load(Ordering::Relaxed),
        bad.load(Ordering::Relaxed),
        times[50],
        times[98]
    );
    println!(
        "{:#?}",
        server
            .nodes
            .get("gateway-0")
            .unwrap()
            .types
            .iter()
            .map(|t| (t.type_url.clone(), t.state.clone(), t.resources, t.generation))
            .collect::<Vec<_>>()
    );
    // control plane restarts: nothing may change
    let hub = server.hub.borrow().clone();
    let address = server.stop().await;
    let server = Server::start_at(address, hub).await;
    eventually("back", || {
        server
            .nodes
            .get("gateway-0")
            .is_some_and(|n| n.connected && n.types.len() >= 4 && n.types.iter().all(|t| t.state == "SYNCED"))
    })
    .await;
    assert_eq!(get(&mut s).await.0, 200);
    envoy.kill().unwrap();
    envoy.wait().unwrap();
    assert_eq!(bad.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delta() {
    flip("DELTA_GRPC").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sotw() {
    flip("GRPC").await;
}
