//! What clients read when Envoy itself answers: every such answer is an OpenAI error in JSON. Answers of workers pass untouched.
use envoy_types::pb::envoy::{
    config::{
        accesslog::v3::{
            AccessLogFilter, ComparisonFilter, ExtensionFilter, ResponseFlagFilter, StatusCodeFilter,
            access_log_filter::FilterSpecifier, comparison_filter::Op,
            extension_filter::ConfigType as ExtensionConfigType,
        },
        core::v3::{
            DataSource, HeaderValueOption, RuntimeUInt32, SubstitutionFormatString, data_source::Specifier,
            substitution_format_string::Format,
        },
    },
    extensions::{
        access_loggers::filters::cel::v3::ExpressionFilter,
        filters::network::http_connection_manager::v3::{LocalReplyConfig, ResponseMapper},
    },
};

use crate::{
    any::{pack, set_header, u32v},
    errors::{self, ClientError},
};

/// The first mapper whose filter holds decides, so a flag (why Envoy answered) comes before a bare status.
pub(crate) fn config() -> LocalReplyConfig {
    LocalReplyConfig {
        mappers: vec![
            untouched(),
            by_flag(&["UO"], &errors::BUSY),
            by_flag(&["UH", "NC"], &errors::NO_WORKER),
            by_flag(&["UF", "UC", "LR", "UR", "URX", "UPE"], &errors::WORKER_LOST),
            by_flag(&["UT", "UMSDR"], &errors::TIMED_OUT),
            by_flag(&["SI"], &errors::CLIENT_TIMED_OUT),
            by_flag(&["OM", "DO"], &errors::OVERLOADED),
            by_flag(&["NR"], &errors::NO_SUCH_PATH),
            by_status(400, &errors::BAD_REQUEST),
            by_status(401, &errors::BAD_KEY),
            by_status(403, &errors::FORBIDDEN),
            by_status(413, &errors::TOO_LARGE),
            by_status(429, &errors::LIMITED),
            by_status(431, &errors::HEADERS_TOO_LARGE),
            by_status(408, &errors::CLIENT_TIMED_OUT),
            by_status(426, &errors::HTTP_VERSION),
            by_status(500, &errors::NOT_CONFIGURED),
            by_status(501, &errors::NOT_IMPLEMENTED),
            the_rest(),
        ],
        body_format: Some(json("%LOCAL_REPLY_BODY%".to_owned())),
    }
}

/// A body that is JSON already.
pub(crate) fn json(text: String) -> SubstitutionFormatString {
    SubstitutionFormatString {
        content_type: "application/json".to_owned(),
        format: Some(Format::TextFormatSource(inline(text))),
        ..Default::default()
    }
}

/// Text that stands in the message itself.
pub(crate) fn inline(text: String) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineString(text)), ..Default::default() }
}

fn by_flag(flags: &[&str], error: &ClientError) -> ResponseMapper {
    mapper(flag_filter(flags), error)
}

fn by_status(status: u32, error: &ClientError) -> ResponseMapper {
    mapper(status_filter(Op::Eq, status), error)
}

/// When to ask again, for what may be better in a moment. Limits say their own time.
pub(crate) fn retry_after(error: &ClientError) -> Vec<HeaderValueOption> {
    if error.soon { vec![set_header("retry-after", "1")] } else { Vec::new() }
}

/// Answers that a route spells out are right as they are, and so is what a script of ours says (a 401 of it has no words).
fn untouched() -> ResponseMapper {
    let expression = "response.code_details == 'direct_response' || \
                      (response.code_details == 'lua_response' && response.code != 401)"
        .to_owned();
    let expression = ExpressionFilter { expression, ..Default::default() };
    let config = Some(ExtensionConfigType::TypedConfig(pack(&expression)));
    let cel = ExtensionFilter { name: "envoy.access_loggers.extension_filters.cel".to_owned(), config_type: config };
    ResponseMapper { filter: Some(filter(FilterSpecifier::ExtensionFilter(cel))), ..Default::default() }
}

/// Whatever else Envoy refuses keeps its status.
fn the_rest() -> ResponseMapper {
    let body = Some(inline(errors::OTHER.body()));
    ResponseMapper { filter: Some(status_filter(Op::Ge, 400)), body, ..Default::default() }
}

fn mapper(filter: AccessLogFilter, error: &ClientError) -> ResponseMapper {
    ResponseMapper {
        filter: Some(filter),
        status_code: u32v(error.status),
        body: Some(inline(error.body())),
        headers_to_add: retry_after(error),
        ..Default::default()
    }
}

fn filter(specifier: FilterSpecifier) -> AccessLogFilter {
    AccessLogFilter { filter_specifier: Some(specifier) }
}

fn flag_filter(flags: &[&str]) -> AccessLogFilter {
    let flags = flags.iter().map(|f| (*f).to_owned()).collect();
    filter(FilterSpecifier::ResponseFlagFilter(ResponseFlagFilter { flags }))
}

fn status_filter(op: Op, status: u32) -> AccessLogFilter {
    let value = RuntimeUInt32 { default_value: status, runtime_key: "tidegate.unused".to_owned() };
    let comparison = ComparisonFilter { op: op.into(), value: Some(value) };
    filter(FilterSpecifier::StatusCodeFilter(StatusCodeFilter { comparison: Some(comparison) }))
}
