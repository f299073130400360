package gateway

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// localReplies rewrites what Envoy answers by itself. A body that grows beyond
// what is kept while the next try waits for its turn is answered 507 by Envoy, as
// if the client had done wrong; it is the destination that was not reached.
func localReplies() *hcmv3.LocalReplyConfig {
	return &hcmv3.LocalReplyConfig{Mappers: []*hcmv3.ResponseMapper{{
		Filter: &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{ExtensionFilter: &accesslogv3.ExtensionFilter{
			Name: "envoy.access_loggers.extension_filters.cel",
			ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: pack(&celv3.ExpressionFilter{
				Expression: `response.code_details == "request_payload_exceeded_retry_buffer_limit"`,
			})},
		}}},
		StatusCode: wrapperspb.UInt32(503),
		Body: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{
			InlineString: "The destination was not reached, and the body is too large to be kept for another try.\n",
		}},
	}}}
}
