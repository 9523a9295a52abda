//! What is written by hand is what generated code reads.
use std::{collections::BTreeMap, sync::Arc};

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
use proptest::prelude::*;
use prost::Message;
use tidegate_xds::{Entry, Resource, Response, Variant, types};

fn response(variant: Variant, resources: &BTreeMap<String, Vec<u8>>, removed: &[String]) -> Response {
    let entry =
        |(name, body): (&String, &Vec<u8>)| Arc::new(Entry::new(types::CLUSTER, name, &Resource::new(body.clone())));
    Response {
        variant,
        type_url: types::CLUSTER.into(),
        version: "v".into(),
        nonce: "n".into(),
        resources: resources.iter().map(entry).collect(),
        removed: removed.iter().map(|name| name.as_str().into()).collect(),
    }
}

fn bytes(response: &Response) -> Vec<u8> {
    let mut out = Vec::new();
    response.encode(&mut out);
    assert_eq!(out.len(), response.encoded_len());
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_variants_are_read_back_whole(
        resources in prop::collection::btree_map("[a-z/.]{0,200}", prop::collection::vec(any::<u8>(), 0..20_000), 0..5),
        removed in prop::collection::vec("[a-z]{1,9}", 0..4),
    ) {
        let delta = response(Variant::Delta, &resources, &removed);
        let read = DeltaDiscoveryResponse::decode(bytes(&delta).as_slice()).unwrap();
        prop_assert_eq!(&read.removed_resources, &removed);
        prop_assert_eq!((&*read.type_url, &*read.nonce, &*read.system_version_info), (types::CLUSTER, "n", "v"));
        prop_assert_eq!(read.resources.len(), resources.len());
        for (resource, (name, body)) in read.resources.iter().zip(&resources) {
            let any = resource.resource.as_ref().unwrap();
            prop_assert_eq!((&resource.name, &*any.type_url, &any.value), (name, types::CLUSTER, body));
            prop_assert_eq!(&resource.version, &Resource::new(body.clone()).version);
        }
        let sotw = response(Variant::Sotw, &resources, &removed);
        let read = DiscoveryResponse::decode(bytes(&sotw).as_slice()).unwrap();
        let bodies: Vec<_> = read.resources.iter().map(|any| (any.type_url.as_str(), &any.value)).collect();
        let expected: Vec<_> = resources.values().map(|body| (types::CLUSTER, body)).collect();
        prop_assert_eq!(bodies, expected);
        prop_assert_eq!((&*read.version_info, &*read.nonce, &*read.type_url), ("v", "n", types::CLUSTER));
    }
}
