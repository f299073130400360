package proxy

import (
	"math"
	"time"

	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluicegw/sluice/model"
)

const (
	heapMonitor        = "envoy.resource_monitors.fixed_heap"
	connectionsMonitor = "envoy.resource_monitors.global_downstream_max_connections"
)

// overloadManager sheds load step by step as the heap fills: first idle
// connections and the streams that hold most, then keep-alive, then new
// requests, then new connections. Connections over the limit are closed on
// accept. It is nil when nothing is limited.
func overloadManager(s model.Settings) *overloadv3.OverloadManager {
	m := &overloadv3.OverloadManager{RefreshInterval: durationpb.New(250 * time.Millisecond)}
	if s.MaxConnections > 0 {
		m.ResourceMonitors = append(m.ResourceMonitors, &overloadv3.ResourceMonitor{
			Name: connectionsMonitor,
			ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: pack(&connectionsv3.DownstreamConnectionsConfig{
				MaxActiveDownstreamConnections: int64(s.MaxConnections),
			})},
		})
	}
	if s.MaxHeapBytes > 0 {
		m.ResourceMonitors = append(m.ResourceMonitors, &overloadv3.ResourceMonitor{
			Name:       heapMonitor,
			ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: pack(&heapv3.FixedHeapConfig{MaxHeapSizeBytes: s.MaxHeapBytes})},
		})
		m.Actions = heapActions()
		m.LoadshedPoints = []*overloadv3.LoadShedPoint{{
			Name:     "envoy.load_shed_points.tcp_listener_accept",
			Triggers: []*overloadv3.Trigger{at(0.98)},
		}}
		// Streams are accounted from 1 MiB on: 2^20.
		m.BufferFactoryConfig = &overloadv3.BufferFactoryConfig{MinimumAccountToTrackPowerOfTwo: 20}
	}
	if len(m.ResourceMonitors) == 0 {
		return nil
	}
	return m
}

// heapActions is the ladder, by the fraction of the heap in use.
func heapActions() []*overloadv3.OverloadAction {
	timeouts := &overloadv3.ScaleTimersOverloadActionConfig{
		TimerScaleFactors: []*overloadv3.ScaleTimersOverloadActionConfig_ScaleTimer{
			shortest(overloadv3.ScaleTimersOverloadActionConfig_HTTP_DOWNSTREAM_CONNECTION_IDLE, 2*time.Second),
			shortest(overloadv3.ScaleTimersOverloadActionConfig_TRANSPORT_SOCKET_CONNECT, 2*time.Second),
		},
	}
	return []*overloadv3.OverloadAction{
		{Name: "envoy.overload_actions.reduce_timeouts", Triggers: []*overloadv3.Trigger{between(0.85, 0.95)}, TypedConfig: pack(timeouts)},
		{Name: "envoy.overload_actions.reset_high_memory_stream", Triggers: []*overloadv3.Trigger{between(0.85, 0.95)}},
		{Name: "envoy.overload_actions.disable_http_keepalive", Triggers: []*overloadv3.Trigger{at(0.92)}},
		{Name: "envoy.overload_actions.shrink_heap", Triggers: []*overloadv3.Trigger{at(0.95)}},
		{Name: "envoy.overload_actions.stop_accepting_requests", Triggers: []*overloadv3.Trigger{at(0.95)}},
		{Name: "envoy.overload_actions.reject_incoming_connections", Triggers: []*overloadv3.Trigger{at(0.98)}},
	}
}

// shortest is a timer that shrinks to d when its action is saturated.
func shortest(timer overloadv3.ScaleTimersOverloadActionConfig_TimerType, d time.Duration) *overloadv3.ScaleTimersOverloadActionConfig_ScaleTimer {
	return &overloadv3.ScaleTimersOverloadActionConfig_ScaleTimer{
		Timer:          timer,
		OverloadAdjust: &overloadv3.ScaleTimersOverloadActionConfig_ScaleTimer_MinTimeout{MinTimeout: durationpb.New(d)},
	}
}

// at triggers from a fraction of the heap on, between gradually.
func at(fraction float64) *overloadv3.Trigger {
	return &overloadv3.Trigger{Name: heapMonitor, TriggerOneof: &overloadv3.Trigger_Threshold{
		Threshold: &overloadv3.ThresholdTrigger{Value: fraction},
	}}
}

func between(from, to float64) *overloadv3.Trigger {
	return &overloadv3.Trigger{Name: heapMonitor, TriggerOneof: &overloadv3.Trigger_Scaled{
		Scaled: &overloadv3.ScaledTrigger{ScalingThreshold: from, SaturationThreshold: to},
	}}
}

// seconds rounds up to whole seconds, at least one: Envoy's flags know no less.
func seconds(d time.Duration) int {
	return max(1, int(math.Ceil(d.Seconds())))
}
