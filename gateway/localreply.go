package gateway

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// localReplies rewrites what Envoy answers by itself, where that says something
// else than what happened.
func localReplies() *hcmv3.LocalReplyConfig {
	return &hcmv3.LocalReplyConfig{Mappers: []*hcmv3.ResponseMapper{
		// A body that grows beyond what is kept while the next try waits for its turn
		// is answered 507, as if the client had done wrong; it is the destination that
		// was not reached.
		mapped(`response.code_details == "request_payload_exceeded_retry_buffer_limit"`, 503,
			"The destination was not reached, and the body is too large to be kept for another try.\n"),
		// Nobody is denied anything: the request is malformed.
		mapped(`response.code_details == "rbac_access_denied_matched_policy[`+hostPolicy+`]"`, 400, "The request names no single host.\n"),
		mapped(`response.code_details == "rbac_access_denied_matched_policy[`+pathPolicy+`]"`, 400,
			"The path has parameters where some servers do not see them.\n"),
	}}
}

func mapped(when string, code uint32, body string) *hcmv3.ResponseMapper {
	return &hcmv3.ResponseMapper{
		Filter: &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{ExtensionFilter: &accesslogv3.ExtensionFilter{
			Name:       "envoy.access_loggers.extension_filters.cel",
			ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: pack(&celv3.ExpressionFilter{Expression: when})},
		}}},
		StatusCode: wrapperspb.UInt32(code),
		Body:       &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: body}},
	}
}
