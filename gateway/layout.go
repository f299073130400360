package gateway

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"

	"github.com/sluicegw/sluice/model"
)

// This file lets a table change its layout without a word to its listener, so that
// no connection has to go.

// tableState is the network filter that keeps on a connection what [TableLayout]
// says when it comes.
func tableState(table string) *listenerv3.Filter {
	return &listenerv3.Filter{
		Name: model.ExtensionTable(table),
		ConfigType: &listenerv3.Filter_ConfigDiscovery{ConfigDiscovery: &corev3.ExtensionConfigSource{
			ConfigSource: ads(),
			TypeUrls:     []string{pack(&setstatev3.Config{}).GetTypeUrl()},
		}},
	}
}

// TableLayout tells new connections which layout a table has: in the plain one they
// ask for [TableScope], in the scoped one for the scope of their host. Older ones
// go on asking for what they were told; when that is gone, the fallback finds what
// took its place.
func TableLayout(table string, scoped bool) *corev3.TypedExtensionConfig {
	config := &setstatev3.Config{}
	if !scoped {
		config.OnNewConnection = []*statev3.FilterStateValue{{
			Key:        &statev3.FilterStateValue_ObjectKey{ObjectKey: model.StateTable},
			FactoryKey: "envoy.string",
			Value: &statev3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
					Specifier: &corev3.DataSource_InlineString{InlineString: model.ScopeName(literal(table), model.PlainScope)},
				}},
			}},
		}}
	}
	return &corev3.TypedExtensionConfig{Name: model.ExtensionTable(table), TypedConfig: pack(config)}
}
