//! From the generated requests to the plain data of the machines, for both variants alike.
use envoy_types::pb::{
    envoy::{
        config::core::v3::{Node, node::UserAgentVersionType},
        service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest},
    },
    google::rpc,
};
use tidegate_xds::{Action, DeltaRequest, SotwRequest, Stream, Variant};

/// A request of either variant.
pub(crate) trait Incoming: prost::Message + Default + Send + 'static {
    const VARIANT: Variant;

    /// The node says who it is in its first request only.
    fn take_node(&mut self) -> Option<Node>;

    /// Type URL, and the nonce of the response that it answers (empty for none).
    fn answers(&self) -> (&str, &str);

    fn hand_to(self, stream: &mut Stream, now_ms: u64) -> Vec<Action>;
}

impl Incoming for DiscoveryRequest {
    const VARIANT: Variant = Variant::Sotw;

    fn take_node(&mut self) -> Option<Node> {
        self.node.take()
    }

    fn answers(&self) -> (&str, &str) {
        (&self.type_url, &self.response_nonce)
    }

    fn hand_to(self, stream: &mut Stream, now_ms: u64) -> Vec<Action> {
        let request = SotwRequest {
            type_url: self.type_url,
            version: self.version_info,
            nonce: self.response_nonce,
            names: self.resource_names,
            error: self.error_detail.map(text),
        };
        stream.on_sotw(&request, now_ms)
    }
}

impl Incoming for DeltaDiscoveryRequest {
    const VARIANT: Variant = Variant::Delta;

    fn take_node(&mut self) -> Option<Node> {
        self.node.take()
    }

    fn answers(&self) -> (&str, &str) {
        (&self.type_url, &self.response_nonce)
    }

    fn hand_to(self, stream: &mut Stream, now_ms: u64) -> Vec<Action> {
        let request = DeltaRequest {
            type_url: self.type_url,
            nonce: self.response_nonce,
            subscribe: self.resource_names_subscribe,
            unsubscribe: self.resource_names_unsubscribe,
            initial_versions: self.initial_resource_versions.into_iter().collect(),
            error: self.error_detail.map(text),
        };
        stream.on_delta(&request, now_ms)
    }
}

fn text(status: rpc::Status) -> String {
    status.message
}

/// "envoy 1.40.0", bounded: for people who read the list of nodes.
pub(crate) fn build(node: &Node) -> String {
    let version = match &node.user_agent_version_type {
        Some(UserAgentVersionType::UserAgentVersion(text)) => text.clone(),
        Some(UserAgentVersionType::UserAgentBuildVersion(build)) => build
            .version
            .as_ref()
            .map(|v| format!("{}.{}.{}", v.major_number, v.minor_number, v.patch))
            .unwrap_or_default(),
        None => String::new(),
    };
    format!("{} {version}", node.user_agent_name).trim().chars().filter(|c| !c.is_control()).take(128).collect()
}
